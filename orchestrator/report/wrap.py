"""Lines for people: wrapped at words to the width of a terminal, with colours and links that may be left out.

A line is a row of pieces. Width is counted in cells, as terminals draw: an emoji is two, a combining mark none. What a
person copies (ids, URLs, commands) is never cut and never broken, even where it is wider than the terminal; everything
else keeps the width.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from orchestrator.core.frozen import Struct, replace
from orchestrator.report.marks import COLOURS, Meaning
from orchestrator.report.words import link, plain

ISOLATE, END_OF_ISOLATE = "\u2068", "\u2069"  # first strong isolate, pop directional isolate
_NARROW = re.compile(
    "[\x20-\x7e\xa0-\xac\xae-\u02ff\u2013\u2014\u2018-\u201d\u2022\u2026\u21aa\u2298\u2500-\u257f\u25cb-\u25d4\u2713]*"
)
_TO_LEFT = ("R", "AL", "AN")
_COPIED = re.compile(r"[/@:]|\.\w+$|^-")  # an id, a URL, a path, an option
_COMMAND = re.compile(r"`[^`]+`|\(orchestrator [^()]+\)|(?:^|(?<=: )|(?<=  ))orchestrator [a-z]+ .+$")
_SPACES = re.compile("( +)")
_RESET = "\x1b[0m"
NARROWEST = 10  # columns that a line has, whatever the terminal says


class Look(Struct, frozen=True):
    """What the terminal, or the file, takes.

    Args:
        width: columns.
        colour: whether SGR sequences may be written; else none are.
        links: whether OSC 8 links may be; else URLs stand in full.
    """

    width: int = 100
    colour: bool = False
    links: bool = False


class Piece(Struct, frozen=True):
    """Text in one colour.

    Args:
        url: what a click opens, where the terminal has links.
        whole: it is copied: neither cut nor broken.
    """

    text: str
    meaning: Meaning | None = None
    bold: bool = False
    url: str | None = None
    whole: bool = False


Line: TypeAlias = Sequence[Piece]


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if _NARROW.fullmatch(text):
        return len(text)
    from rich.cells import cell_len  # only where a text has more than most have: it would slow every start

    return cell_len(text)


def named(text: str) -> str:
    """A name from outside, on one line; one that is read from right to left turns nothing around it."""
    clean = plain(text)
    if clean.isascii() or all(unicodedata.bidirectional(one) not in _TO_LEFT for one in clean):
        return clean
    return f"{ISOLATE}{clean}{END_OF_ISOLATE}"


def isolated(text: str) -> str:
    """A sentence of which each word may be such a name."""
    return " ".join(map(named, plain(text).split(" ")))


def soft(text: str, *, whole: bool = False) -> Piece:
    """What is said beside the point: grey."""
    return Piece(text, Meaning.IDLE, whole=whole)


def cut(text: str, width: int) -> str:
    """The text in so many columns, with an ellipsis where it is longer; not for what is copied."""
    if cells(text) <= width:
        return text
    return f"{next(_broken(text, width - 1))}\u2026" if width > 1 else "\u2026"[:width]


def padded(text: str, width: int) -> str:
    """The text with spaces behind it, to so many columns."""
    return text + " " * (width - cells(text))


def wrapped(line: Line, width: int, hang: int = 0) -> Iterator[list[Piece]]:
    """The line as lines that keep the width, broken at spaces; a name that is broken is isolated in each of them.

    Args:
        hang: columns before every line but the first.
    """
    is_open = False
    for made in _wrapped(line, width, hang):
        found = [Piece(ISOLATE), *made] if is_open else made
        text = "".join(piece.text for piece in found)
        is_open = text.count(ISOLATE) > text.count(END_OF_ISOLATE)
        yield [*found, Piece(END_OF_ISOLATE)] if is_open else found


def _wrapped(line: Line, width: int, hang: int) -> Iterator[list[Piece]]:
    width = max(width, hang + NARROWEST)
    made: list[Piece] = []
    here = 0
    for gap, word in _words(line):
        size = sum(cells(piece.text) for piece in word)
        if made and here + gap + size > width:
            yield made
            made, here, gap = [], 0, hang
        if gap:
            made.append(Piece(" " * gap))
            here += gap
        if here + size <= width or _is_copied(word):
            made, here = [*made, *word], here + size
            continue
        parts = (replace(piece, text=part) for piece in word for part in _broken(piece.text, width - hang))
        for part in parts:
            if here > hang and here + cells(part.text) > width:
                yield made
                made, here = [Piece(" " * hang)] if hang else [], hang
            made.append(part)
            here += cells(part.text)
    if made:
        yield made


def _is_copied(word: Line) -> bool:
    return any(piece.whole for piece in word) or bool(_COPIED.search("".join(piece.text for piece in word)))


def _words(line: Line) -> Iterator[tuple[int, list[Piece]]]:
    """Each word, of one piece or of parts of several, with the spaces before it."""
    gap, word = 0, list[Piece]()
    for piece in line:
        for part in [piece.text] if piece.whole else _SPACES.split(piece.text):
            if part.isspace():
                if word:
                    yield gap, word
                    gap, word = 0, []
                gap += len(part)
            elif part:
                word.append(replace(piece, text=part))
    if word:
        yield gap, word


def _broken(text: str, width: int) -> Iterator[str]:
    """The text in parts that are no wider; what a terminal draws as one sign stays together, isolated in each part."""
    if text.startswith(ISOLATE) and text.endswith(END_OF_ISOLATE):
        yield from (f"{ISOLATE}{part}{END_OF_ISOLATE}" for part in _broken(text[1:-1], width))
        return
    if _NARROW.fullmatch(text):
        yield from (text[at : at + width] for at in range(0, len(text), width))
        return
    from rich.cells import split_graphemes  # as above

    part, used = "", 0
    for start, end, size in split_graphemes(text)[0]:
        if part and used + size > width:
            yield part
            part, used = "", 0
        part, used = part + text[start:end], used + size
    if part:
        yield part


def drawn(line: Line, look: Look) -> str:
    """The line as the terminal takes it."""
    return "".join(_drawn(piece, look) for piece in _joined(line)).rstrip(" ")


def _joined(line: Line) -> Iterator[Piece]:
    """The pieces with as few changes of colour as there are: spaces belong to what stands on both sides of them."""
    made: list[Piece] = []
    for piece in line:
        if made and _style(made[-1]) == _style(piece):
            made[-1] = replace(made[-1], text=made[-1].text + piece.text)
        elif len(made) > 1 and made[-1].text.isspace() and _style(made[-2]) == _style(piece):
            gap = made.pop().text
            made[-1] = replace(made[-1], text=f"{made[-1].text}{gap}{piece.text}")
        else:
            made.append(piece)
    yield from made


def _style(piece: Piece) -> tuple[Meaning | None, bool, str | None]:
    return piece.meaning, piece.bold, piece.url


def _drawn(piece: Piece, look: Look) -> str:
    text = piece.text
    if look.colour and not text.isspace() and (piece.meaning is not None or piece.bold):
        colour = COLOURS[piece.meaning].sgr if piece.meaning is not None else ""
        codes = ";".join(filter(None, ("1" if piece.bold else "", colour)))
        text = f"\x1b[{codes}m{text}{_RESET}"
    url = link(piece.url) if look.links else None
    return text if url is None else f"\x1b]8;;{plain(url)}\x1b\\{text}\x1b]8;;\x1b\\"


def written(lines: Iterable[Line], look: Look, hang: int = 0) -> Iterator[str]:
    """Lines as text, each wrapped where it is longer than the terminal is wide."""
    for line in lines:
        found = [drawn(part, look) for part in wrapped(line, look.width, hang)]
        yield from found or [""]


def fit(text: str, width: int) -> str:
    """Plain lines, each wrapped with its own indentation and a little more; commands stay whole."""
    look = Look(width)
    made: list[str] = []
    for line in text.split("\n"):
        if cells(line) <= width:
            made.append(line)
            continue
        hang = len(line) - len(line.lstrip(" ")) + 2
        made += written([_marked(line)], look, min(hang, width // 2))
    return "\n".join(made)


def _marked(line: str) -> Line:
    """The pieces of a plain line; commands are whole."""
    pieces, at = [], 0
    for found in _COMMAND.finditer(line):
        pieces += [Piece(line[at : found.start()]), Piece(found[0], whole=True)]
        at = found.end()
    return [*pieces, Piece(line[at:])]
