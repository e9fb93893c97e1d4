"""What is wrong with a manifest: sentences with a place and a remedy, which a tired person can act on.

The positions of values are packed, so that those of a hundred thousand targets cost little.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct

Value: TypeAlias = Any
"""What YAML makes of text: None, bool, int, float, str, date, datetime, list, dict."""

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

COLUMN_BITS, LINE_BITS = 20, 28


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a name may hold them; a message is one line
SHOWN = 1000  # problems of one manifest that are printed; nobody repairs more in one go


class Problem(Struct, frozen=True):
    """One thing that must be repaired.

    Args:
        where: `file:line:column`, or the file alone where there is no position in it.
        keys: the path of keys, `targets[3].branches[0]`; empty for the file as a whole.
        text: what is wrong.
        remedy: what to do about it; empty where the text says it.
        order: sorts problems as they stand in the files.
    """

    where: str
    keys: str
    text: str
    remedy: str = ""
    order: int = 0

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Problem and _KEY(self) == _KEY(other)

    def __hash__(self) -> int:
        return hash(_KEY(self))

    def __str__(self) -> str:
        sentence = f"{self.text}; {self.remedy}" if self.remedy else self.text
        line = ": ".join(part for part in (self.where, self.keys, sentence) if part)
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], line)


_KEY = attrgetter("where", "keys", "text", "remedy")


class ManifestError(UsageError):
    """Everything that is wrong with a manifest, in the order of its lines; as text, a problem a line.

    The same fault in many rows of a list is one problem, with the first places.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        in_order = sorted(dict.fromkeys(problems), key=lambda problem: problem.order)
        alike: dict[tuple[str, str, str], list[Problem]] = {}
        for index, problem in enumerate(in_order):
            of_row = problem.keys.partition("[")[0] != "targets" and problem.where.count(":") > 1
            fault = _VALUE.sub("", problem.text) if of_row else str(index)
            alike.setdefault((problem.where.partition(":")[0], fault, problem.keys if of_row else ""), []).append(
                problem
            )
        self.problems: Sequence[Problem] = tuple(one for same in alike.values() for one in _as_one(same))
        super().__init__(self.problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more problems")
        return "\n".join(lines)


_VALUE = re.compile(r"'[^']*'|`[^`]*`|\"[^\"]*\"|[^\s:]+:\d+:\d+|\d+|\S+[/:@]\S+")  # what differs from row to row
_FEW = 3  # problems that are alike and are printed one by one


def _as_one(same: Sequence[Problem]) -> Sequence[Problem]:
    if len(same) <= _FEW:
        return same
    lines = ", ".join(problem.where.split(":")[1] for problem in same[:5])
    text = f"{same[0].text} (so in {len(same):,} rows: lines {lines}{', ...' if len(same) > 5 else ''})"
    first = same[0]
    return [Problem(first.where, first.keys, text, first.remedy, first.order)]


class Place(NamedTuple):
    """Where a value stands, and the keys that lead to it in messages: none for entries of a list of lines or rows."""

    container: Value
    key: str | int
    keys: Path

    @property
    def value(self) -> Value:
        """The value itself."""
        return self.container[self.key]

    def at(self, key: str | int) -> Place:
        """An item of the value."""
        return Place(self.container[self.key], key, (*self.keys, key))

    def within(self, key: str) -> Place:
        """An item of the value, or the value itself where it has no such key."""
        return self.at(key) if isinstance(self.value, dict) and key in self.value else self


class Positions:
    """Where each value of all files stands, and how scalars that are no text were written."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._positions: dict[int, array[int]] = {}
        self._written: dict[tuple[int, int], str] = {}
        self._alive: list[Value] = []  # containers are known by their identity, which must not be reused

    def add_source(self, name: str) -> int:
        """Adds a file by its name; returns the number that goes into packed positions."""
        self.sources.append(name)
        return len(self.sources) - 1

    def keep(self, container: Value, positions: array[int]) -> None:
        """Keeps the positions of a list's items, or of a map's keys and values in turn."""
        self._positions[id(container)] = positions
        self._alive.append(container)

    def keep_written(self, container: Value, index: int, text: str) -> None:
        """Keeps how a scalar that is no text was written."""
        self._written[id(container), index] = text

    def forget(self, container: dict[str, Value], key: str) -> None:
        """Removes a key from its map, together with its positions."""
        index = list(container).index(key)
        positions = self.of_items(container)
        del positions[2 * index : 2 * index + 2]
        for at in range(index, len(container)):  # the later ones move up
            text = self._written.pop((id(container), at + 1), None)
            self._written.pop((id(container), at), None)
            if text is not None:
                self._written[id(container), at] = text
        del container[key]

    def source_of(self, container: Value, key: str | int | None = None) -> str:
        """The name of the file that a value stands in."""
        return self.sources[self.at(container, key) >> (LINE_BITS + COLUMN_BITS)]

    def written(self, container: Value, key: str | int) -> str | None:
        """How the scalar was written; None for text and containers."""
        return self._written.get((id(container), _index(container, key)))

    def at(self, container: Value, key: str | int | None = None, *, of_key: bool = False) -> int:
        """The packed position of a value (or of its key) in its container; 0 when it is not known."""
        positions = self._positions.get(id(container))
        if not positions:
            return 0
        if key is None:
            return positions[0]
        index = _index(container, key)
        if isinstance(container, dict):
            index = 2 * index + (0 if of_key else 1)
        return positions[index] if 0 <= index < len(positions) else positions[0]

    def of_items(self, container: Value) -> array[int]:
        """The packed positions of a container's items; empty when they are not known."""
        return self._positions.get(id(container), array("Q"))

    def where(self, position: int) -> str:
        """`file:line:column` of a packed position."""
        name = self.sources[position >> (LINE_BITS + COLUMN_BITS)]
        line = position >> COLUMN_BITS & ((1 << LINE_BITS) - 1)
        return f"{name}:{line}:{position & ((1 << COLUMN_BITS) - 1)}" if line else name


def pack(source: int, line: int, column: int) -> int:
    """A position as one number; lines and columns count from 1."""
    line, column = min(line, (1 << LINE_BITS) - 1), min(column, (1 << COLUMN_BITS) - 1)
    return source << (LINE_BITS + COLUMN_BITS) | line << COLUMN_BITS | column


def _index(container: Value, key: str | int) -> int:
    if isinstance(container, dict):
        return list(container).index(key) if key in container else -1
    return key if isinstance(key, int) else -1


class Diagnostics:
    """Collects the problems of a manifest.

    Attributes:
        problems: in the order in which they were found.
        warnings: sentences for a person.
        positions: of all values of all files.
        settled: positions of values that are wrong altogether: nothing more is reported about them.
        broken: entries that are wrong: the identity of their list, and their index.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: dict[str, None] = {}
        self.positions = Positions()
        self.settled: set[int] = set()
        self.broken: set[tuple[int, int]] = set()

    def add(self, problem: Problem) -> None:
        """Adds a problem, unless its value is settled."""
        if problem.order not in self.settled:
            self.problems.append(problem)

    def report(self, text: str, remedy: str, place: Place, *, of_key: bool = False) -> None:
        """Adds a problem with a value, or with its key."""
        position = self.positions.at(place.container, place.key, of_key=of_key)
        self.add(Problem(self.positions.where(position), path_of(place.keys), text, remedy, position))

    def report_at(self, position: int, text: str, remedy: str, keys: str = "") -> None:
        """Adds a problem at a packed position."""
        self.problems.append(Problem(self.positions.where(position), keys, text, remedy, position))

    def report_file(self, text: str, remedy: str, source: int = 0, line: int = 1) -> None:
        """Adds a problem with a file as a whole, or with one of its lines."""
        self.report_at(pack(source, line, 1), text, remedy)


def path_of(keys: Iterable[str | int]) -> str:
    """`targets[3].branches[0]`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key[:100]}"
    return text.removeprefix(".")


# What the YAML parser finds, each as (line, column, text, remedy), counted from 1.

_ASCII = bytes([9, 10, 13, *range(32, 127)])  # what is printable of it
_UNPRINTABLE = "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_REFERENCE = re.compile(r"(?P<key>[\w-]*token)\s*:\s*(?P<kind>env|file|command)\s*:\s+")


def explain_bytes(text: bytes, largest: int) -> tuple[int, int, str, str] | None:
    """What is wrong with the bytes of a file, before they are parsed."""
    if len(text) > largest:
        remedy = "split it, or list the targets in a file of `from`"
        return 0, 0, f"the file is larger than {largest // 2**20} MiB", remedy
    if not text.translate(None, _ASCII):
        return None  # the usual case
    if text.startswith(_UTF16):
        return 1, 1, "the file is UTF-16", "save it as UTF-8"
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(text, error.start)
        return line, column, f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8"
    found = re.search(_UNPRINTABLE, decoded)
    if found is not None and not (found.start() == 0 and found[0] == "\ufeff"):
        line, column = _place(text, len(decoded[: found.start()].encode()))
        what = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        return line, column, f"{what} in the file", "remove it"
    return None


def _place(text: bytes, offset: int) -> tuple[int, int]:
    before = text[:offset]
    start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[start:].decode("utf-8", "replace")) + 1


def explain_parser(error: Exception, text: bytes) -> tuple[int, int, str, str]:
    """What a parser's error means for the person who wrote the file."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    context = str(getattr(error, "context", None) or "")
    lines = text.split(b"\n")
    written = lines[line - 1].decode("utf-8", "replace") if line <= len(lines) else ""
    return (line, column, *_sentence(problem, context, written, column))


def _sentence(problem: str, context: str, line: str, column: int) -> tuple[str, str]:
    here = line[column - 1 : column]
    if "nesting depth" in problem:  # libyaml from 0.2.6 on gives up by itself, further in than we do
        return "nested too deeply", "flatten it"
    if "alias" in context or "anchor" in context:
        start = "*" if "alias" in context else "&"
        return f"`{start}` starts an {'alias' if start == '*' else 'anchor'} in YAML", f'quote it: "{start}..."'
    if "${{" in line and ("flow" in context or "expected" in problem):
        return "`${{ ... }}` inside { } or [ ] is read as YAML", 'it needs quotes: "${{ ... }}"; quote it'
    if "mapping values are not allowed" in problem:
        return _second_colon(line)
    if "cannot start any token" in problem:
        if here == "\t" or (line[: column - 1].strip() == "" and "\t" in line[:column]):
            return "a tab in the indentation", "YAML indents with spaces"
        return f"text cannot begin with `{here}`", "quote it"
    if "tab" in problem:
        return "a tab in the indentation", "YAML indents with spaces"
    if "quoted scalar" in context:
        return "a quote is opened and not closed", "close it"
    if "flow" in context:
        return f"{problem} ({context})", "close the bracket, or put a comma between the items"
    if "block" in context:
        return f"{problem} ({context})", "look at the indentation: items of one list or map begin in one column"
    return (f"{problem} ({context})" if context else problem), "this is no YAML; look at quotes and indentation"


def _second_colon(line: str) -> tuple[str, str]:
    found = _REFERENCE.search(line)
    if found is not None:
        key, how = found["key"], found["kind"]
        return (
            f"`{key}: {how}: ...` is a map inside a map",
            f"write it without a space: `{key}: {how}:NAME`, or `{key}: {{{how}: NAME}}`",
        )
    return "a second `: ` in one line", "quote it, if it is part of the text; else check the indentation"
