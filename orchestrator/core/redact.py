"""Takes secrets out of whatever is about to be shown: log lines, error messages, tracebacks.

Two nets: every secret that was resolved is known by its text, in each spelling in which it may turn up; and what looks
like credentials (an Authorization header, a password in a URL, a key named `token`) is blotted out even when nobody
told us about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

BLOT = "***"
DEEPEST = 12  # levels of nesting that are looked into; what is below is written as text first
SHORT = 6  # characters; a shorter secret is only taken out where it stands alone, or nothing could be read any more

_KEY = re.compile(
    r"(?:^|[-_.])(?:authorization|auth|token|cookie|passwd|password|secret|credentials?|api[-_]?key|private[-_]?key)$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"^(?:env|file|command):", re.IGNORECASE)  # says where a secret stands, is none itself

_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:private|job|access|x-[a-z-]*)-token|set-cookie|cookie)"
    r"([\"']?\s*[:=,]\s*(?:b?\\?[\"'])?)([^\"'\r\n,;)}\]]+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(token|bearer|basic)(\s+|%20)(?=[^\s\"']*[0-9])([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_USERINFO = re.compile(r"(\w://)[^\s/@\"'?#]+@")
_QUERY = re.compile(
    r"([?&;](?:access_|private_|job_|refresh_|client_)?(?:token|secret|password|api_?key|auth)=)[^\s&#\"']+",
    re.IGNORECASE,
)


class Redactor:
    """Knows the secrets of this process and takes them out of texts and values; grows with `add`."""

    def __init__(self) -> None:
        self._spellings: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings)"

    def add(self, secret: str) -> None:
        """From now on this text is taken out, in plain and in its usual encodings."""
        new = {spelling for spelling in _spellings(secret) if spelling} - self._spellings
        if new:
            self._spellings |= new
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._known = re.compile("|".join(_pattern(spelling) for spelling in longest_first))

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(BLOT, text)
        text = _HEADER.sub(rf"\1\2{BLOT}", text)
        text = _SCHEME.sub(rf"\1\2{BLOT}", text)
        text = _USERINFO.sub(rf"\1{BLOT}@", text)
        return _QUERY.sub(rf"\1{BLOT}", text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """The value without secrets: plain containers are rebuilt, everything else is written as text."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, Mapping) and depth < DEEPEST:
            return {self.text(str(key)): self._of(str(key), item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and depth < DEEPEST:
            return [self.value(item, depth + 1) for item in _paired(value)]
        return self.text(value if type(value) is str else _written(value))

    def _of(self, key: str, value: Any, depth: int) -> Any:
        """The value of a key; of a key that names a secret only a reference or nothing is left."""
        if not _KEY.search(key) or value is None or isinstance(value, bool):
            return self.value(value, depth + 1)
        return self.text(value) if isinstance(value, str) and _REFERENCE.match(value) else BLOT


def _paired(items: Any) -> Any:
    """A (name, value) pair, as raw headers come, is seen as what it is."""
    if isinstance(items, tuple) and len(items) == 2 and isinstance(items[0], (str, bytes)):
        name = items[0] if isinstance(items[0], str) else items[0].decode("latin-1")
        if _KEY.search(name):
            return (name, BLOT)
    return items


def _written(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # a log line must not fail because somebody's __str__ does
        return f"<{type(value).__name__} that cannot be written: {type(error).__name__}>"


def _spellings(secret: str) -> Iterator[str]:
    """The ways in which a secret may turn up in a text."""
    import json  # not for verbs that resolve no secret
    from urllib.parse import quote, quote_plus

    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    if len(secret) >= SHORT:
        yield secret.encode().hex()
        yield from _in_base64(secret.encode())


def _in_base64(raw: bytes) -> Iterator[str]:
    """The part of its base64 that does not depend on what stands around it, at each of three alignments."""
    import base64

    for before in range(3):
        padded = b"\0" * before + raw
        whole = len(padded) // 3 * 3
        text = base64.b64encode(padded[:whole]).decode()[4 if before else 0 :]
        if len(text) >= 2 * SHORT:
            yield text
            yield text.replace("+", "-").replace("/", "_")


def _pattern(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= SHORT else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"
