"""Lines of a terminal, measured in its cells: pieces of text with a colour each, cut at the width, harmless."""

from __future__ import annotations

from functools import lru_cache

from orchestrator.core.frozen import Struct
from orchestrator.report import wrap
from orchestrator.report.marks import COLOURS, Meaning
from orchestrator.report.words import sound
from orchestrator.report.wrap import END_OF_ISOLATE, ISOLATE, cells, named

BOLD = "1"
DIM = COLOURS[Meaning.IDLE].sgr
RESET = "\x1b[0m"
MORE = "\u2026"


class Style(Struct, frozen=True):
    """What the terminal can show: colours, and signs beyond ASCII; and what is appended to commands."""

    colour: bool = True
    signs: bool = True
    suffix: str = ""


def sgr(meaning: Meaning) -> str:
    """The colour of a meaning."""
    return COLOURS[meaning].sgr


@lru_cache(maxsize=4096)  # four pictures a second have most of their texts in common
def width_of(text: str) -> int:
    """The cells that a text takes."""
    return cells(text)


@lru_cache(maxsize=4096)
def cut(text: str, width: int, more: str = MORE) -> str:
    """The text, ended by an ellipsis where it is wider; what was isolated in it stays so."""
    if width_of(text) <= width:
        return text
    room = width - width_of(more)
    kept = wrap.cut(text, room + 1)[:-1].rstrip() if room > 0 else ""
    if not kept:
        return more[:width] if width > 0 else ""
    return kept + more + (END_OF_ISOLATE if kept.count(ISOLATE) > kept.count(END_OF_ISOLATE) else "")


@lru_cache(maxsize=4096)
def name(text: str) -> str:
    """A text from outside as it may stand among ours: on one line, and ordered by itself if it runs right to left."""
    return named(sound(text))


class Line:
    """One line: pieces from the left, and pieces that end at the right edge."""

    def __init__(self) -> None:
        self._left: list[tuple[str, str]] = []
        self._right: list[tuple[str, str]] = []

    def add(self, text: str, *sgr: str) -> Line:
        """A piece more, with the parameters of its colour."""
        self._left.append((text, ";".join(filter(None, sgr))))
        return self

    def end(self, text: str, *sgr: str) -> Line:
        """A piece more at the right edge."""
        self._right.append((text, ";".join(filter(None, sgr))))
        return self

    def pad(self, column: int) -> Line:
        """Blanks up to a column, one at least where something stands before."""
        return self.add(" " * max(1 if self._left else 0, column - self.width))

    def join(self, other: Line) -> Line:
        """The pieces of another line behind those of this."""
        self._left += other._left
        return self

    @property
    def width(self) -> int:
        """The cells of the pieces from the left."""
        return sum(width_of(text) for text, _ in self._left)

    @property
    def room(self) -> int:
        """The cells of the pieces at the right edge."""
        return sum(width_of(text) for text, _ in self._right)

    def drawn(self, width: int, *, colour: bool, more: str = MORE) -> tuple[str, int]:
        """The line as a terminal takes it, not wider than so many cells, and the cells that it takes."""
        room, at = self.room, self.width
        fits = not room or at + 2 + room <= width
        pieces = [*self._left, (" " * (width - at - room), ""), *self._right] if room and fits else self._left
        found, taken = list[str](), 0
        for text, sgr in pieces:
            piece = cut(text, width - taken, more)
            found.append(f"\x1b[{sgr}m{piece}{RESET}" if colour and sgr and piece.strip() else piece)
            taken += width_of(piece)
            if piece != text:
                break
        return "".join(found), taken
