"""A manifest of what did not pass, to edit and to run: the same requests, accounts and limits, templates filled in.

As with `retry`, what may still have a build of its own is named in comments only. Every scalar is written in double
quotes and every map in braces, so nothing that a repo or a message may contain can be read as anything but text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.core.concurrency import Concurrency
from orchestrator.core.frozen import asdict, defaults_of
from orchestrator.core.model import Account, Json, Limit, Target, Timeouts
from orchestrator.core.times import period
from orchestrator.manifest.layers import FIELDS
from orchestrator.report.groups import to_rerun, word_of
from orchestrator.report.view import Report
from orchestrator.report.words import plain

# Beyond what JSON escapes: what YAML does not allow in a stream, or would take as the end of a line.
_NOT_YAML = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def render(report: Report) -> str:
    """The manifest; `check` accepts it unless nothing is left to run, as its first line then says."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    safe, unsafe = to_rerun(report.targets)
    yield f"# What did not pass in run {report.run.id}{'' if safe else ': nothing that may be triggered again'}"
    for row in unsafe:
        yield f"# left out, {word_of(row)}: {plain(row.id)}"
    yield "version: 1"
    yield f"name: {written(_literal(report.run.name or 'rerun'))}"
    used = {row.account for row in safe}
    accounts = {name: account for name, account in report.accounts.items() if name in used}
    if accounts:
        yield "providers:"
        yield from (f"  {written(name)}: {written(_account(account))}" for name, account in accounts.items())
    yield "targets:" if safe else "targets: []"
    kept = {row.id for row in safe}
    yield from (f"  - {written(_target(row.target, kept))}" for row in safe)


def written(value: Json) -> str:
    """The value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written(str(key))}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)(e|$)", r"\1.0\2", repr(value))  # YAML 1.1 takes `1e+20` for text
    return _NOT_YAML.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def _literal(value: Any) -> Any:
    """The value with its templates switched off: what was filled in once is never read again."""
    if isinstance(value, str):
        return value.replace("${{", "$${{")
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list | tuple) else value


def _target(target: Target, kept: set[str]) -> dict[str, Any]:
    """The target in the manifest's long form; needs that have passed, or will not run, are gone."""
    out: dict[str, Any] = {
        "account": target.account,
        "repo": int(target.repo) if target.repo.isdigit() else target.repo,
    }
    if target.branch is not None:
        out["branch"] = target.branch
    out |= {"matrix": {key: [value] for key, value in target.matrix}} if target.matrix else {}
    out |= {"name": target.name} if target.name is not None else {}
    out |= {"labels": list(target.labels)} if target.labels else {}
    needs = [need for need in target.needs if need in kept]
    out |= {"needs": needs} if needs else {}
    out |= {} if target.marked else {"marker": "none"}
    out |= {key: getattr(target, key) for key in FIELDS if getattr(target, key) != _USUAL[key]}
    changed = _timeouts(target.timeouts)
    out |= {"timeouts": changed} if changed else {}
    request = {key: value for key, value in target.request.items() if key not in ("branch", "branches", "repo")}
    literal: dict[str, Any] = _literal(out | request)
    return literal


_USUAL = defaults_of(Target)


def _timeouts(timeouts: Timeouts) -> dict[str, str]:
    usual = Timeouts()
    pairs = asdict(timeouts).items()
    return {name: period(seconds) for name, seconds in pairs if seconds != getattr(usual, name)}


def _account(account: Account) -> dict[str, Any]:
    """The account in the manifest's keys; limits only where a person wrote them, so that defaults stay defaults."""
    out: dict[str, Any] = {"type": account.type, "url": account.url}
    out |= {"token": account.token} if account.token is not None else {}
    out |= {"insecure": True} if account.insecure else {}
    # a share is written as the rate that it came to: written as a share, it would be taken once more
    limits: dict[str, Any] = {one.name: _rate(one) for one in account.limits if one.written or one.share != 100}
    usual = Account(account.name, account.type, account.url)
    limits |= {"connections": account.connections} if account.connections != usual.connections else {}
    limits |= {"in_flight": account.in_flight} if account.in_flight is not None else {}
    limits |= _concurrency(account.concurrency)
    return out | ({"limits": limits} if limits else {}) | dict(account.settings)


def _concurrency(values: Concurrency) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind in ("owner", "label"):
        numbers = {cap.name or "*": cap.most for cap in values.caps if cap.kind == kind}
        out |= {f"in_flight_per_{kind}": numbers} if numbers else {}
    if (rule := values.queue) is not None:
        times = {"dead_after": period(rule.dead_after), "every": period(rule.every)}
        out["queue"] = {"below": rule.below, "resume": rule.resume, "reserve": rule.reserve, **times}
    return out | ({"quiet_hours": [str(quiet) for quiet in values.quiet]} if values.quiet else {})


def _rate(limit: Limit) -> str:
    return f"{limit.calls}/{period(limit.per)}"
