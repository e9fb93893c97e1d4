"""A target's id: `ACCOUNT:REPO[@REF][[k=v,...]][#NAME]`; the short form in a manifest is the same text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_ODD = re.compile("[\x00-\x20\x7f-\x9f,\\[\\]#%]")  # space and control characters, and what the grammar uses
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SHAPE = re.compile(
    r"(?:(?P<account>[A-Za-z0-9_][A-Za-z0-9_.-]*):)?"
    r"(?P<repo>[^@\[\]#,:]+)"
    r"(?:@(?P<ref>[^\[\]#,]+))?"
    r"(?:\[(?P<matrix>[^\[\]#]+)\])?"
    r"(?:\#(?P<name>[^\[\]#,]+))?"
)
_REPO = re.compile("[^\x00-\x20\x7f-\x9f@:\\[\\]#%,?*\\\\]+")
_REF_NEVER = re.compile("[\x00-\x20\x7f~^:\\\\]|\\.\\.|@\\{|//|^/|/$|\\.lock$|\\.$|^-")

PLAIN = re.compile(
    "([^\x00-\x20\x7f-\x9f/@:\\[\\]#%,?*\\\\${]+(?:/[^\x00-\x20\x7f-\x9f/@:\\[\\]#%,?*\\\\${]+)+)"
    "(?:@([A-Za-z0-9_+-]+(?:[/.][A-Za-z0-9_+-]+)*))?"
)
"""The short forms that are plain names, as most are: loading 100,000 targets is fast because of it."""


class Parts(NamedTuple):
    """The parts of an id; `account` None where it is left out."""

    account: str | None
    repo: str
    ref: str | None = None
    matrix: tuple[tuple[str, str], ...] = ()
    name: str | None = None


def encode(text: str) -> str:
    """Percent-encodes what would break the id's grammar."""
    if _ODD.search(text) is None:
        return text
    return _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def decode(text: str) -> str:
    """The text that `encode` had.

    Raises:
        ValueError: a percent sign that encodes nothing.
    """
    if "%" not in text:
        return text
    if "%" in _PERCENT.sub("", text):
        raise ValueError("a percent sign is written %25 here")
    try:
        return _PERCENT.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), text)
    except UnicodeDecodeError:
        raise ValueError(f"{text[:100]!r} is not UTF-8 once it is decoded") from None


def id_of(account: str, repo: str, ref: str | None, matrix: Iterable[tuple[str, str]], name: str | None) -> str:
    """The id of a target."""
    text = f"{account}:{encode(repo)}"
    if ref is not None:
        text += f"@{encode(ref)}"
    pairs = ",".join(f"{encode(key)}={encode(value)}" for key, value in matrix)
    if pairs:
        text += f"[{pairs}]"
    return text if name is None else f"{text}#{encode(name)}"


def parse(text: str) -> Parts:
    """The parts of an id or a short form.

    Raises:
        ValueError: it is no id; the message says what is expected.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise ValueError(f"expected owner/name, owner/name@branch or a target's id, found {text[:100]!r}")
    ref, name, matrix = shape["ref"], shape["name"], shape["matrix"]
    return Parts(
        shape["account"],
        decode(shape["repo"]),
        None if ref is None else decode(ref),
        tuple(_pair(pair) for pair in matrix.split(",")) if matrix else (),
        None if name is None else decode(name),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"expected matrix values as [key=value,...], found {text[:100]!r}")
    return decode(key), decode(value)


def repo_problem(repo: str, numbers: bool) -> str | None:
    """What is wrong with a repository's name, or None.

    Args:
        numbers: whether the provider takes a number for a repository.
    """
    if _REPO.fullmatch(repo) is None:
        return f"{repo[:100]!r} is no repository's name"
    if repo.isascii() and repo.isdigit():
        return None if numbers else f"this provider knows no repository by its number ({repo[:100]})"
    parts = repo.split("/")
    if len(parts) < 2 or not all(parts) or any(part in (".", "..") for part in parts):
        return f"expected owner/name, found {repo[:100]!r}"
    return None


def ref_problem(ref: str) -> str | None:
    """What is wrong with a ref, by git's own rules for names; None when nothing is."""
    found = _REF_NEVER.search(ref)
    if not ref:
        return "a branch has a name"
    if found is not None:
        return f"no branch can be named {ref[:100]!r} (it holds {found[0]!r})"
    return None
