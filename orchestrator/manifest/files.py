"""The files of a manifest: the file itself, what it includes, and the lists that its targets come from."""

from __future__ import annotations

import posixpath
import re
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from orchestrator.core.errors import near
from orchestrator.manifest.diagnostics import Diagnostics, ManifestError, Place, Positions, Value, pack
from orchestrator.manifest.validate import Validator
from orchestrator.manifest.yaml_reader import LARGEST, read_yaml

STDIN = "-"
MOST_FILES = 1000
_COMMENT = re.compile(r"(?:^|\s)#.*$")


class Listing(NamedTuple):
    """Targets, short forms (text) and long forms (maps), as they stand in one file, below these keys."""

    items: list[Value]
    keys: str | None = "targets"


class _Column(NamedTuple):
    """A column of a CSV file: the path of keys that it fills, and the types that may stand there."""

    keys: tuple[str, ...]
    wants: set[str]

    def value(self, text: str) -> Value:
        """What a cell says: a list where its text has semicolons, or where only a list may stand."""
        if "array" in self.wants and (";" in text or "string" not in self.wants):
            return [part.strip() for part in text.split(";") if part.strip()]
        return text


class Files:
    """Everything that was read, with a function that reads a file or raises OSError."""

    def __init__(self, load: Callable[[str], bytes]) -> None:
        self.load = load
        self.diagnostics = Diagnostics()
        self.positions = self.diagnostics.positions
        self.maps: list[dict[str, Value]] = []  # each file's top level, the manifest first
        self.present: list[frozenset[str]] = []  # the keys of each map, the wrong ones too
        self.names: list[str] = []
        self.lists: dict[int, Listing] = {}  # of `from`, by the identity of its entry

    def read_all(self, name: str, text: bytes) -> None:
        """Reads the manifest and everything that it includes, each file once. Raises ManifestError."""
        self._read(name, text, (_path_of(name),))

    def _read(self, name: str, text: bytes, chain: tuple[str, ...]) -> None:
        value = read_yaml(name, text, self.diagnostics)
        self.diagnostics.settled |= {problem.order for problem in self.diagnostics.problems}
        if not isinstance(value, dict):
            problem = "expected a map of keys such as `version` and `targets`"
            self.diagnostics.report_file(problem, "see `orchestrator init`", len(self.positions.sources) - 1)
            raise ManifestError(self.diagnostics.problems)
        for key in [key for key in value if key.startswith("x-")]:
            self.positions.forget(value, key)
        self.take(name, value)
        for place in _texts(Place(value, "include", ("include",))) if "include" in value else ():
            self._include(name, place, chain)

    def take(self, name: str, value: dict[str, Value]) -> None:
        """Takes the top level of a file in."""
        self.maps.append(value)
        self.present.append(frozenset(value))
        self.names.append(name)

    def _include(self, name: str, place: Place, chain: tuple[str, ...]) -> None:
        found = beside(name, place.value)
        if _path_of(found) in chain:
            circle = " includes ".join([*chain[chain.index(_path_of(found)) :], _path_of(found)])
            self.diagnostics.report(f"a circle of includes: {circle}", "remove one of them", place)
        elif found == STDIN:
            self.diagnostics.report("stdin cannot be included", "name a file", place)
        elif len(self.names) >= MOST_FILES:
            self.diagnostics.report(f"more than {MOST_FILES} files", "include fewer", place)
        elif _path_of(found) not in {_path_of(known) for known in self.names}:
            text = self.loaded(found, place)
            if text is not None:
                self._read(found, text, (*chain, _path_of(found)))

    def loaded(self, path: str, place: Place) -> bytes | None:
        """The bytes of a file; None (and a problem at the place that names it) when it cannot be read."""
        try:
            return self.load(path)
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            remedy = "paths are relative to the file they stand in"
            self.diagnostics.report(f"cannot read {path}: {why}", remedy, place)
        except ValueError as error:  # a path with a NUL
            self.diagnostics.report(f"cannot read {path!r}: {error}", "name a file", place)
        return None

    def read_list(self, place: Place, validator: Validator) -> None:
        """Reads the file that the `from` there names."""
        if id(place.container) in self.lists:
            return
        path = beside(self.positions.source_of(place.container, "from"), place.value)
        if path == STDIN == self.names[0]:
            self.diagnostics.report("stdin is the manifest already", "put the targets into a file", place)
        elif (text := self.loaded(path, place)) is not None and (found := self.listing(path, text, validator)):
            self.lists[id(place.container)] = found

    def listing(self, path: str, text: bytes, validator: Validator) -> Listing | None:
        """The targets of a file of lines, or of a `.csv` file; None (and a problem) when it is no text."""
        lines = self._decoded(path, text)
        if lines is None:
            return None
        return self._rows(path, lines, validator) if path.lower().endswith(".csv") else self._lines(path, lines)

    def _decoded(self, path: str, text: bytes) -> str | None:
        try:
            if len(text) > LARGEST:
                raise ValueError(f"the file is larger than {LARGEST // 2**20} MiB")
            decoded = text.decode("utf-8-sig")
            if "\0" in decoded:
                raise ValueError("a NUL byte in the file")
        except ValueError as error:
            line = text.count(b"\n", 0, getattr(error, "start", 0)) + 1
            problem = "the file is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            self.diagnostics.report_file(problem, "save it as UTF-8 text", self.positions.add_source(path), line)
            return None
        return decoded

    def _lines(self, path: str, text: str) -> Listing:
        """A target a line, short form; `#` after a space, or first, begins a comment."""
        source = self.positions.add_source(path)
        items: list[Value] = []
        positions = array("Q")
        for number, line in enumerate(text.splitlines(), 1):
            target = _COMMENT.sub("", line).strip() if "#" in line else line.strip()
            if target:
                items.append(target)
                positions.append(pack(source, number, 1))
        self.positions.keep(items, positions)
        return Listing(items, None)

    def _rows(self, path: str, text: str, validator: Validator) -> Listing:
        """A target a row; the header names keys of the long form."""
        import csv  # rarely needed, and `check` is to start fast
        import io

        source = self.positions.add_source(path)
        items: list[Value] = []
        positions = array("Q")
        try:
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            columns = self._header(next(reader, []), source, validator)
            for row in reader:
                position = pack(source, reader.line_num, 1)
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) > len(columns):
                    problem = f"{len(row)} cells, and {len(columns)} columns in the header"
                    self.diagnostics.report_at(position, problem, "quote commas")
                items.append(self._row(columns, row, position))
                positions.append(position)
        except csv.Error as error:
            self.diagnostics.report_file(f"no CSV: {error}", "look at the quotes", source, reader.line_num or 1)
        self.positions.keep(items, positions)
        for found, wrong in validator.problems_of({"version": 1, "targets": items}, left_out=2):
            self.diagnostics.problems.append(wrong)
            self.diagnostics.broken.add((id(items), int(found[1])))  # (targets, row, ...)
        return Listing(items, None)

    def _header(self, names: Sequence[str], source: int, validator: Validator) -> list[_Column | None]:
        columns: list[_Column | None] = []
        for name in names:
            keys = tuple(part.strip() for part in name.split("."))
            column: tuple[str | int, ...] = ("targets", 0, *keys)
            bad = not all(validator.knows(column[:size]) for size in range(3, len(column) + 1))
            if bad or keys in {known.keys for known in columns if known}:
                word = "unknown" if bad else "duplicate"
                remedy = near(keys[0], validator.keys_at(("targets", 0))) if bad else "remove one"
                self.diagnostics.report_file(f"{word} column `{name[:100]}` in the header", remedy, source)
                columns.append(None)
            else:
                columns.append(_Column(keys, validator.wants(column)))
        if not names:
            self.diagnostics.report_file("no header", "the first line names keys: repo,branches,labels", source)
        return columns

    def _row(self, columns: Sequence[_Column | None], row: Sequence[str], position: int) -> dict[str, Value]:
        entry: dict[str, Value] = {}
        for column, cell in zip(columns, row, strict=False):
            text = cell.strip()
            if column is None or not text:
                continue
            inner = entry
            for key in column.keys[:-1]:
                inner = inner.setdefault(key, {}) if isinstance(inner.get(key, {}), dict) else {}
            inner[column.keys[-1]] = column.value(text)
        self._mark(entry, position)
        return entry

    def _mark(self, container: Any, position: int) -> None:
        """Everything in a row stands where the row begins."""
        inner = container.values() if isinstance(container, dict) else container
        self.positions.keep(container, array("Q", [position]) * (2 * len(container)))
        for value in inner:
            if isinstance(value, (dict, list)):
                self._mark(value, position)


def beside(name: str, path: str) -> str:
    """A path that stands in a file, as seen from where that file's own name is seen."""
    if path == STDIN or name == STDIN:
        return path
    return posixpath.join(posixpath.dirname(name), path)


def _path_of(name: str) -> str:
    return name if name == STDIN else posixpath.normpath(name)


def _texts(place: Place) -> list[Place]:
    """The places of the texts of a key that holds one or a list."""
    value = place.value
    places = [place.at(index) for index in range(len(value))] if isinstance(value, list) else [place]
    return [one for one in places if isinstance(one.value, str)]


# merging: what is read first wins, key by key

_EVERY = "*"


def merged(maps: Sequence[dict[str, Value]], by_name: Sequence[str], positions: Positions) -> dict[str, Value]:
    """The top levels of several files as one, with these keys of targets merged by name; positions are kept."""
    defaults: dict[str, Any] = {key: {} for key in by_name}
    # these maps merge key by key; every other value of the later file is taken as a whole or not at all
    deep: dict[str, Any] = {
        "params": {},
        "providers": {_EVERY: {"limits": {}, "defaults": defaults}},
        "defaults": defaults,
        "expect": {},
        "reports": {},
    }
    result = maps[0]
    for later in maps[1:]:
        result = _merge(result, later, deep, positions)
    return result


def _merge(
    first: dict[str, Value], later: dict[str, Value], deep: dict[str, Any], positions: Positions
) -> dict[str, Value]:
    made: dict[str, Value] = {}
    places = array("Q")
    for key in [*first, *(key for key in later if key not in first)]:
        home = first if key in first else later
        value = home[key]
        inner = deep.get(key, deep.get(_EVERY))
        if inner is not None and key in first and key in later:
            both = first[key], later[key]
            if isinstance(both[0], dict) and isinstance(both[1], dict):
                value = _merge(*both, inner, positions)
        if (written := positions.written(home, key)) is not None:
            positions.keep_written(made, len(made), written)
        made[key] = value
        places.append(positions.at(home, key, of_key=True))
        places.append(positions.at(home, key))
    positions.keep(made, places)
    return made
