"""Globs: `*` stops at a slash, `**` does not, `?` is one character; everything else is itself.

The expressions commit to each piece as they go (atomic groups), so that no glob can make them try for ever: a later
end of a piece can never help where the earliest did not.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKENS = re.compile(r"\*\*+|\*|\?|[^*?]+")


def is_glob(text: str) -> bool:
    """Whether the text stands for several."""
    return "*" in text or "?" in text


def matches(glob: str, text: str, *, fold: bool = False) -> bool:
    """Whether the whole text matches.

    Args:
        fold: whether case matters not.
    """
    return _compiled(glob, fold).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(glob: str, fold: bool) -> re.Pattern[str]:
    return re.compile(expression(glob), re.DOTALL | (re.IGNORECASE if fold else 0))


def expression(glob: str) -> str:
    """The glob as a regular expression."""
    first, *pieces = _split(glob)
    if not pieces:
        return _piece(first, last=True)
    middle = "".join(f"(?>.*?{_piece(piece, last=False)})" for piece in pieces[:-1])
    return f"(?>{_piece(first, last=False)}){middle}.*{_piece(pieces[-1], last=True)}"


def _split(glob: str) -> list[list[str]]:
    """The tokens between the `**`."""
    pieces: list[list[str]] = [[]]
    for token in _TOKENS.findall(glob):
        if token.startswith("**"):
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _piece(tokens: list[str], *, last: bool) -> str:
    """Tokens without `**`; `last` when the text ends with them."""
    runs: list[str] = [""]
    for token in tokens:
        if token == "*":  # noqa: S105  # a star of a glob, not a secret
            runs.append("")
        else:
            runs[-1] += "[^/]" if token == "?" else re.escape(token)  # noqa: S105  # as above
    head, *rest = runs
    if not rest:
        return head
    committed = "".join(f"(?>[^/]*?{run})" for run in (rest[:-1] if last else rest))
    return head + committed + (f"[^/]*{rest[-1]}" if last else "")
