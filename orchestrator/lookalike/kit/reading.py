"""Settings from a small map, as it stands in a YAML or JSON file. Every message names the key and a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from orchestrator.core.errors import UsageError
from orchestrator.lookalike.kit.faults import KINDS
from orchestrator.lookalike.travis.settings import VCS, FaultRule, Range, RepoSpec, Rule, Settings, Shares, numbered

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_SLUG = re.compile(r"[^/\s@]+/[^/\s@]+")


def parse(given: Mapping[str, Any]) -> Settings:
    """Settings of a world. What is left out has its default.

    Raises:
        UsageError: a key that does not exist, or a value that cannot be read.
    """
    _only(given, {*_READERS, "repos", "owner", "owners"}, "settings")
    found = {name: read(given[name], name) for name, read in _READERS.items() if name in given}
    owners = _texts(given["owners"], "owners") if "owners" in given else (_text(given.get("owner", "acme"), "owner"),)
    return Settings(repos=_repos(given.get("repos", 100), owners), **found)


def read_faults(given: Any, path: str) -> tuple[FaultRule, ...]:
    """A plan of faults.

    Raises:
        UsageError: see `parse`.
    """
    return tuple(_fault(each, f"{path}[{n}]") for n, each in enumerate(_list(given, path)))


def duration(given: Any, path: str) -> float:
    """Seconds from a number, or from text such as `20ms`, `30s`, `1h`."""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 1e12:
        return float(given)
    found = _DURATION.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        raise _wrong(path, "a duration such as 2s, 20ms or 1h", given)
    return float(found[1]) * _UNITS[found[2] or "s"]


def share(given: Any, path: str) -> float:
    """0 to 1 from a number, or from text such as `5%`."""
    found = _PERCENT.fullmatch(given.strip()) if isinstance(given, str) else None
    value = float(found[1]) / 100 if found else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong(path, "a share such as 5% or 0.05", given)
    return float(value)


def _span(given: Any, path: str) -> Range:
    if not isinstance(given, list):
        return (duration(given, path), duration(given, path))
    if len(given) != 2:
        raise _wrong(path, "a duration, or two of them: [least, most]", given)
    low, high = duration(given[0], path), duration(given[1], path)
    if low > high:
        raise _wrong(path, "the least before the most", given)
    return (low, high)


def _counts(given: Any, path: str) -> tuple[int, int]:
    both = given if isinstance(given, list) else [given, given]
    if len(both) != 2 or not 1 <= _count(both[0], path) <= _count(both[1], path) <= 200:
        raise _wrong(path, "a number of jobs from 1 to 200, or two of them: [least, most]", given)
    return (both[0], both[1])


def _count(given: Any, path: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise _wrong(path, "a whole number", given)
    return given


def _whole(given: Any, path: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise _wrong(path, "a whole number", given)
    return given


def _scale(given: Any, path: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1e6:
        raise _wrong(path, "a number above 0, 1 for real time", given)
    return float(given)


def _flag(given: Any, path: str) -> bool:
    if not isinstance(given, bool):
        raise _wrong(path, "true or false", given)
    return given


def _text(given: Any, path: str) -> str:
    if not isinstance(given, str) or not given:
        raise _wrong(path, "text; quote it", given)
    return given


def _texts(given: Any, path: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (_text(given, path),)
    if not isinstance(given, list | tuple):
        raise _wrong(path, "text, or a list of texts", given)
    return tuple(_text(each, f"{path}[{n}]") for n, each in enumerate(given))


def _rule(given: Any, path: str) -> Rule | None:
    if given is False or given == "off":  # YAML 1.1 reads a bare off as false
        return None
    if not isinstance(given, Mapping):
        raise _wrong(path, "off, or a map of calls, per and ban", given)
    _only(given, {"calls", "per", "ban"}, path)
    per = duration(given.get("per", 30.0 if path == "burst" else 60.0), f"{path}.per")
    calls = _count(given.get("calls", 50 if path == "burst" else 2000), f"{path}.calls")
    ban = duration(given.get("ban", 3600.0 if path == "burst" else 0.0), f"{path}.ban")
    if not calls or not per:
        raise _wrong(path, "calls and per above 0; or off", given)
    return Rule(calls, per, ban)


def _shares(given: Any, path: str) -> Shares:
    found = _map(given, path)
    _only(found, set(Shares.__struct_fields__), path)
    return Shares(**{name: share(value, f"{path}.{name}") for name, value in found.items()})


def _others(given: Any, path: str) -> Mapping[str, str]:
    return {_text(token, path): _text(login, path) for token, login in _map(given, path).items()}


def _repos(given: Any, owners: tuple[str, ...]) -> tuple[RepoSpec, ...]:
    if isinstance(given, int) and not isinstance(given, bool):
        return numbered(_count(given, "repos"), owners)
    found = tuple(_repo(each, f"repos[{n}]") for n, each in enumerate(_list(given, "repos")))
    seen: set[str] = set()
    for spec in found:
        key = f"{spec.vcs}:{spec.slug.lower()}"
        if key in seen:
            raise UsageError(f"sandbox: repos: {spec.slug} is there twice; remove one")
        seen.add(key)
    return found


def _repo(given: Any, path: str) -> RepoSpec:
    if isinstance(given, str):
        return RepoSpec(_slug(given, path))
    found = _map(given, path)
    _only(found, _REPO_READERS, path)
    if "slug" not in found:
        raise UsageError(f"sandbox: {path}.slug: is missing; write owner/name")
    return RepoSpec(**{name: _REPO_READERS[name](value, f"{path}.{name}") for name, value in found.items()})


def _slug(given: Any, path: str) -> str:
    if not isinstance(given, str) or not _SLUG.fullmatch(given):
        raise _wrong(path, "owner/name", given)
    return given


def _vcs(given: Any, path: str) -> str:
    return _word(given, VCS, path)


def _fault(given: Any, path: str) -> FaultRule:
    found = _map(given, path)
    _only(found, _FAULT_READERS, path)
    if "kind" not in found:
        raise UsageError(f"sandbox: {path}.kind: is missing; one of {', '.join(KINDS)}")
    return FaultRule(**{name: _FAULT_READERS[name](value, f"{path}.{name}") for name, value in found.items()})


def _kind(given: Any, path: str) -> str:
    return _word(given, KINDS, path)


def _numbers(given: Any, path: str) -> tuple[int, ...]:
    return tuple(_count(each, path) for each in (given if isinstance(given, list) else [given]))


def _methods(given: Any, path: str) -> tuple[str, ...]:
    return () if given == "all" else tuple(each.upper() for each in _texts(given, path))


def _prefix(given: Any, path: str) -> str:
    text = _text(given, path).rstrip("/")
    if not text.startswith("/"):
        raise _wrong(path, "a path such as /api", given)
    return text


_REPO_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "slug": _slug,
    "id": _count,
    "branches": _texts,
    "default_branch": _text,
    "vcs": _vcs,
    "private": _flag,
    "active": _flag,
    "known": _flag,
    "may_trigger": _flag,
    "hourly": _count,
    "rejects": _text,
}
_FAULT_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "kind": _kind,
    "share": share,
    "nth": _numbers,
    "repo": _text,
    "methods": _methods,
    "between": _span,
    "seconds": duration,
}
_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "branches": _texts,
    "default_branch": _text,
    "token": _text,
    "login": _text,
    "user_id": _count,
    "others": _others,
    "shares": _shares,
    "process": _span,
    "build": _span,
    "jobs": _counts,
    "concurrency": _count,
    "change": _span,
    "hourly": _count,
    "hour": duration,
    "burst": _rule,
    "minute": _rule,
    "latency": _span,
    "lag": _span,
    "reorder": _flag,
    "skew": duration,
    "prefix": _prefix,
    "auto_cancel": _flag,
    "strict_branches": _flag,
    "faults": read_faults,
    "time_scale": _scale,
    "patience": duration,
    "pretty": _flag,
    "seed": _whole,
}


def _list(given: Any, path: str) -> list[Any]:
    if not isinstance(given, list):
        raise _wrong(path, "a list", given)
    return given


def _map(given: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise _wrong(path, "a map", given)
    return given


def _only(given: Mapping[str, Any], known: Collection[str], path: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"sandbox: {path}: unknown key `{name}`{_meant(name, known)}")


def _word(given: Any, known: Collection[str], path: str) -> str:
    if not isinstance(given, str) or given not in known:
        raise UsageError(f"sandbox: {path}: unknown word {given!r}{_meant(given, known)}")
    return given


def _meant(given: Any, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(known))}"


def _wrong(path: str, expected: str, given: Any) -> UsageError:
    return UsageError(f"sandbox: {path}: expected {expected}, found {given!r}")
