"""Lists of targets that `from` names: lines, a table (CSV, TSV), or JSON, told apart by suffix and content."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.core.errors import near
from orchestrator.manifest.diagnostics import Diagnostics, ManifestError, Place, Value, pack
from orchestrator.manifest.schema import KINDS, OF_LISTS
from orchestrator.manifest.validate import Validator
from orchestrator.manifest.yaml_reader import LARGEST, read_json

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_FOREIGN = re.compile(r"<|\[[A-Za-z]|---(?:\s|$)|- |[\w.-]+:(?:\s|$)")  # XML, INI, YAML: how no list begins
_SEPARATORS = (",", ";", "\t")
_NAMED = 8  # columns that a message names
_MAPPING = "map them with `columns: {repo: NAME}`, or leave the others out with `ignore_columns: true`"


class Listing(NamedTuple):
    """Targets, short forms (text) and long forms (maps), as they stand in one file, below these keys."""

    items: list[Value]
    keys: str | None = "targets"


class _Column(NamedTuple):
    """A key of ours, the name that it has in the list, and the types that may stand there."""

    keys: tuple[str, ...]
    theirs: str
    wants: set[str]

    def of_text(self, text: str) -> Value:
        """What a cell says: a list where its text has semicolons, or where only a list may stand."""
        if "array" in self.wants and (";" in text or "string" not in self.wants):
            return [part.strip() for part in text.split(";") if part.strip()]
        return text


class ListReader:
    """Reads one list; what is wrong with it goes to the diagnostics.

    Args:
        entry: the place of the entry whose `columns` and `ignore_columns` hold for the list.
    """

    def __init__(self, path: str, validator: Validator, diagnostics: Diagnostics, entry: Place) -> None:
        self.path, self.validator, self.diagnostics, self.entry = path, validator, diagnostics, entry
        self.positions = diagnostics.positions
        self.ignores = bool(entry.value.get("ignore_columns", False))
        self.columns = [_Column(self._keys(ours), name, set()) for ours, name in self._written().items()]
        self.head = "header"  # what names the columns
        self.items: list[Value] = []
        self.places = array("Q")

    def _written(self) -> Mapping[str, str]:
        """What `columns` says; keys of ours that are none are a problem."""
        written: dict[str, str] = dict(self.entry.value.get("columns", {}))
        for ours in [ours for ours in written if not self._is_ours(self._keys(ours))]:
            remedy = near(ours, self.validator.keys_at(("targets", 0)))
            self.diagnostics.report(f"unknown key `{ours[:100]}` in `columns`", remedy, self.entry.within("columns"))
            del written[ours]
        return written

    @staticmethod
    def _keys(name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in name.split("."))

    def _is_ours(self, keys: tuple[str, ...]) -> bool:
        column: tuple[str | int, ...] = ("targets", 0, *keys)
        return keys[0] not in {"from", *OF_LISTS} and all(
            self.validator.knows(column[:size]) for size in range(3, len(column) + 1)
        )

    def read(self, text: bytes) -> Listing | None:
        """The targets; None (and a problem) when it is no text."""
        decoded = self._decoded(text)
        if decoded is None:
            return None
        if _FOREIGN.match(first := _first_line(decoded)):
            source, line = self.positions.add_source(self.path), decoded.count("\n", 0, decoded.index(first)) + 1
            problem = f"this is no list of targets: it begins with {first[:40]!r}"
            remedy = (
                "from: reads lines, CSV, TSV and JSON; docs/how-to/lists.md makes a list of the files of other tools"
            )
            self.diagnostics.report_file(problem, remedy, source, line)
            return None
        suffix = self.path.lower().rpartition(".")[2]
        if suffix in ("json", "jsonl", "ndjson") or decoded.lstrip()[:1] in ("[", "{"):
            self._json(decoded)
        elif suffix in ("csv", "tsv") or self._has_header(decoded):
            self._table(decoded, "\t," if suffix == "tsv" else ",")
        else:
            self._lines(decoded)
        self.positions.keep(self.items, self.places)
        self._validate()
        return Listing(self.items, None)

    def _decoded(self, text: bytes) -> str | None:
        try:
            if len(text) > LARGEST:
                raise ValueError(f"the file is larger than {LARGEST // 2**20} MiB")
            decoded = text.decode("utf-8-sig")
            if "\0" in decoded:
                raise ValueError("a NUL byte in the file")
        except ValueError as error:
            line = text.count(b"\n", 0, getattr(error, "start", 0)) + 1
            problem = "the file is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            source = self.positions.add_source(self.path)
            self.diagnostics.report_file(problem, "save it as UTF-8 text", source, line)
            return None
        return decoded

    def _validate(self) -> None:
        rows = self.items if any(isinstance(item, dict) for item in self.items) else []
        for found, wrong in self.validator.problems_of({"version": 1, "targets": rows}, left_out=2) if rows else ():
            self.diagnostics.problems.append(wrong)
            self.diagnostics.broken.add((id(self.items), int(found[1])))  # (targets, row, ...)

    # lines

    def _lines(self, text: str) -> None:
        """A target a line, short form; `#` after a space, or first, begins a comment."""
        source = self.positions.add_source(self.path)
        for number, line in enumerate(text.splitlines(), 1):
            target = _COMMENT.sub("", line).strip() if "#" in line else line.strip()
            if target:
                self.items.append(target)
                self.places.append(pack(source, number, 1))

    # tables

    def _has_header(self, text: str) -> bool:
        """Whether the first line names a column that holds repositories, as no line of short forms does."""
        first = text.lstrip().partition("\n")[0].strip()
        known = {"repo", *(column.theirs for column in self.columns if column.keys == ("repo",))}
        return any(known & set(_cells(first, separator)) for separator in _SEPARATORS)

    def _table(self, text: str, usual: str) -> None:
        """A target a row; the header names keys of the long form, or what `columns` maps to them."""
        import csv  # rarely needed, and `check` is to start fast
        import io

        source = self.positions.add_source(self.path)
        if told := re.match("sep=(.)\r?\n", text):  # as spreadsheets write it
            text = "\n" + text[told.end() :]
        separator = told[1] if told else self._separator(text.lstrip("\r\n").partition("\n")[0], usual)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            columns = self._header(next((row for row in reader if row), []), source)
            for row in reader if columns is not None else ():
                if any(cell.strip() for cell in row):
                    self._row(columns or [], row, pack(source, reader.line_num, 1))
        except csv.Error as error:
            self.diagnostics.report_file(f"no CSV: {error}", "look at the quotes", source, reader.line_num or 1)

    def _separator(self, header: str, usual: str) -> str:
        """The one that yields most columns that are known, else most columns."""
        mapped = {column.theirs for column in self.columns}

        def known(separator: str) -> tuple[int, int, bool]:
            cells = _cells(header, separator)
            ours = [cell in mapped or (bool(cell) and self._is_ours(self._keys(cell))) for cell in cells]
            return sum(ours), len(cells), separator in usual

        return max(_SEPARATORS, key=known)

    def _header(self, names: Sequence[str], source: int) -> list[list[_Column]] | None:
        """The columns that each cell fills; None where no row can make sense, and the problem is told."""
        cells = [name.strip() for name in names]
        if not any(cells):
            self.diagnostics.report_file("no header", "the first line names keys: repo,branches,labels", source)
            return None
        columns = [self._columns_of(name) for name in cells]
        mapped = {column.theirs for column in self.columns}
        missing = [column.theirs for column in self.columns if column.theirs not in cells]
        unknown = [name for name, found in zip(cells, columns, strict=True) if name and not found]
        twice = [name for name in dict.fromkeys(cells) if name and cells.count(name) > 1]
        if missing:
            self._report_columns("no", missing, near(missing[0], [name[:100] for name in cells if name]), source)
        if unknown and not self.ignores:
            self._report_columns("unknown", unknown, self._hint(unknown), source)
        if twice and (mapped.intersection(twice) or not self.ignores):
            self._report_columns("duplicate", twice, "remove one", source)
        makes = any(column.keys[0] in KINDS for found in columns for column in found)
        if makes or missing or (unknown and not self.ignores):
            return columns if makes else None
        self._report_columns("no", ["repo"], _MAPPING, source)
        return None

    def _columns_of(self, name: str) -> list[_Column]:
        """The keys that a column fills; where `columns` is written and the others are ignored, only those."""
        found = [column for column in self.columns if column.theirs == name]
        keys = self._keys(name)
        if not found and name and self._is_ours(keys):
            if not (self.columns and self.ignores):
                found = [_Column(keys, name, set())]
            elif keys != ("name",):  # which in other people's lists is something else
                said = f"{self.path}: the column `{name[:100]}` is ignored, since `columns` does not name it"
                self.diagnostics.warnings[said] = None
        return [column._replace(wants=self.validator.wants(("targets", 0, *column.keys))) for column in found]

    def _hint(self, unknown: Sequence[str]) -> str:
        guess = near(unknown[0], self.validator.keys_at(("targets", 0))) if len(unknown) == 1 else ""
        return guess if guess.startswith("did you mean") else _MAPPING

    def _report_columns(self, word: str, names: Sequence[str], remedy: str, source: int) -> None:
        named = ", ".join(f"`{name[:100]}`" for name in names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        noun = "column" if len(names) == 1 else "columns"
        self.diagnostics.report_file(f"{word} {noun} {named}{more} in the {self.head}", remedy, source)

    def _row(self, columns: Sequence[Sequence[_Column]], row: Sequence[str], position: int) -> None:
        if len(row) > len(columns):
            problem = f"{len(row)} cells, and {len(columns)} columns in the header"
            self.diagnostics.report_at(position, problem, "quote the separator")
        entry: dict[str, Value] = {}
        for found, cell in zip(columns, row, strict=False):
            for column in found if (text := cell.strip()) else ():
                _put(entry, column.keys, column.of_text(text))
        self._add(entry, position)

    # JSON

    def _json(self, text: str) -> None:
        """Texts and objects of arrays, of one array in an object (a page of an API), or one after the other."""
        try:
            values = read_json(self.path, text, self.diagnostics)
        except ManifestError:
            return  # it stands in the list
        self.head = "objects"
        unknown: dict[str, int] = {}
        missing = {column.theirs for column in self.columns}
        known: dict[str, None] = {}
        for value, position in self._found(values):
            if isinstance(value, dict):
                known |= dict.fromkeys(value)
                missing -= {theirs for theirs in missing if _dug(value, theirs) is not None}
                self._object(value, position, unknown)
            else:
                self.items.append(value)
                self.places.append(position)
        source, objects = len(self.positions.sources) - 1, [item for item in self.items if isinstance(item, dict)]
        if missing and objects:
            self._report_columns("no", sorted(missing), near(min(missing), [key[:100] for key in known]), source)
        if unknown:
            self._report_columns("unknown", list(unknown), self._hint(list(unknown)), source)
        if (missing or unknown) and objects and not any(KINDS_OF & item.keys() for item in objects):
            del self.items[:], self.places[:]  # one problem, which is told; without it each row would have one

    def _found(self, container: list[Value]) -> Iterator[tuple[Value, int]]:
        """The texts and objects in a list, in lists in it, and in pages, with their positions."""
        for index, value in enumerate(container):
            arrays = [key for key in value if isinstance(value[key], list)] if isinstance(value, dict) else []
            position = self.positions.at(container, index)
            if isinstance(value, list):
                yield from self._found(value)
            elif not isinstance(value, dict) or self._is_row(value):
                yield value, position
            elif len(arrays) == 1:
                yield from self._found(value[arrays[0]])
            elif len(arrays) > 1 and len(container) == 1:
                text = f"which array holds the targets? there are {', '.join(arrays[:_NAMED])}"
                self.diagnostics.report_at(position, text, "write that one alone into the file")
            else:
                yield value, position

    def _is_row(self, value: Mapping[str, Value]) -> bool:
        theirs = [column.theirs for column in self.columns if column.keys[0] in KINDS] or KINDS
        return any(_dug(value, name) is not None for name in theirs)

    def _object(self, value: Mapping[str, Value], position: int, unknown: dict[str, int]) -> None:
        entry: dict[str, Value] = {}
        claimed = {part for column in self.columns for part in (column.theirs, column.theirs.partition(".")[0])}
        for key in [key for key in value if key not in claimed]:
            if not self._columns_of(key):
                if not self.ignores:
                    unknown.setdefault(key, position)
            elif value[key] not in (None, ""):
                entry[key] = value[key]
        for column in self.columns:
            if (found := _dug(value, column.theirs)) not in (None, ""):
                _put(entry, column.keys, found)
        self._add(entry, position)

    def _add(self, entry: dict[str, Value], position: int) -> None:
        self._mark(entry, position)
        self.items.append(entry)
        self.places.append(position)

    def _mark(self, container: Any, position: int) -> None:
        """Everything in a row stands where the row begins."""
        inner = container.values() if isinstance(container, dict) else container
        self.positions.keep(container, array("Q", [position]) * (2 * len(container)))
        for value in inner:
            if isinstance(value, (dict, list)):
                self._mark(value, position)


KINDS_OF = frozenset(KINDS)


def _first_line(text: str) -> str:
    """The first line that is no comment."""
    return next((line for each in text.splitlines() if (line := each.strip()) and not line.startswith("#")), "")


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(separator)]


def _put(entry: dict[str, Value], keys: tuple[str, ...], value: Value) -> None:
    inner = entry
    for key in keys[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner.get(key, {}), dict) else {}
    inner[keys[-1]] = value


def _dug(value: Value, name: str) -> Value:
    """What stands there in an object; dots nest, and a list is looked through; None where nothing does."""
    if isinstance(value, list):
        return [found for one in value if (found := _dug(one, name)) is not None]
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    first, dot, rest = name.partition(".")
    return _dug(value[first], rest) if dot and first in value else None
