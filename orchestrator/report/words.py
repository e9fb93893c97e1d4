"""How values are written for people: times, durations, counts, and text from outside made harmless."""

from __future__ import annotations

import re
import shlex
from datetime import datetime

# Control characters, and the marks that turn or hide text on a terminal or a page (a branch name may hold any).
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]+")


def epoch(text: str | None) -> int | None:
    """The seconds since the epoch of an RFC 3339 time."""
    return None if text is None else int(datetime.fromisoformat(text).timestamp())


def seconds_between(start: str | None, end: str | None) -> int | None:
    """The seconds from one RFC 3339 time to another; None when one is missing."""
    first, last = epoch(start), epoch(end)
    return None if first is None or last is None else last - first


def plain(text: str) -> str:
    """Text from outside on one line, without anything that steers a terminal."""
    return _ODD.sub(" ", text).strip()


def short(text: str, at_most: int = 300) -> str:
    """The same, and not longer than a person reads."""
    clean = plain(text)
    return clean if len(clean) <= at_most else f"{clean[: at_most - 3]}..."


def shell(text: str) -> str:
    """The text as one word of a shell's command line: brackets and `#` in an id mean something there."""
    return shlex.quote(plain(text))


def link(url: str | None) -> str | None:
    """The URL, when it is one that a click may safely open."""
    if url is None or not url.startswith(("https://", "http://")):
        return None
    return re.sub(r"[\s\x00-\x1f<>\"']", "", _ODD.sub("", url))


def sound(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON from outside may hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
