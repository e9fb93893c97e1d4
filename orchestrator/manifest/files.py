"""The files of a manifest: the file itself, what it includes, and the lists that its targets come from."""

from __future__ import annotations

import errno
import posixpath
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.manifest.diagnostics import Diagnostics, ManifestError, Place, Positions, Value
from orchestrator.manifest.graphs import Graph, read_graph
from orchestrator.manifest.lists import Listing, ListReader
from orchestrator.manifest.validate import Validator
from orchestrator.manifest.yaml_reader import read_yaml

STDIN = "-"
MOST_FILES = 1000
MOST_BYTES = 256 * 2**20


class Files:
    """Everything that was read, with a function that reads a file or raises OSError."""

    def __init__(self, load: Callable[[str], bytes]) -> None:
        self.load = load
        self.diagnostics = Diagnostics()
        self.positions = self.diagnostics.positions
        self.maps: list[dict[str, Value]] = []  # each file's top level, the manifest first
        self.present: list[frozenset[str]] = []  # the keys of each map, the wrong ones too
        self.names: list[str] = []
        self.bytes = 0  # of all files that the manifest names
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
            text = self.load(path)
            self.bytes += len(text)
            if self.bytes > MOST_BYTES:
                raise OSError(errno.EFBIG, f"the files are larger than {MOST_BYTES // 2**20} MiB together")
            return text
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            remedy = "paths are relative to the file they stand in"
            self.diagnostics.report(f"cannot read {path}: {why}", remedy, place)
        except ValueError as error:  # a path with a NUL
            self.diagnostics.report(f"cannot read {path!r}: {error}", "name a file", place)
        return None

    def read_list(self, entry: Place, validator: Validator) -> None:
        """Reads the file that the `from` of an entry names."""
        place = entry.at("from")
        if id(place.container) in self.lists:
            return
        path = beside(self.positions.source_of(place.container, "from"), place.value)
        if path == STDIN == self.names[0]:
            self.diagnostics.report("stdin is the manifest already", "put the targets into a file", place)
        elif (text := self.loaded(path, place)) is not None:
            shown = "stdin" if path == STDIN else path
            if (found := ListReader(shown, validator, self.diagnostics, entry).read(text)) is not None:
                self.lists[id(place.container)] = found

    def read_graph(self, raw: Mapping[str, Value]) -> Graph | None:
        """Reads the file of needs that the manifest names; None where it names none."""
        if "needs_from" not in raw:
            return None
        place = Place(raw, "needs_from", ("needs_from",)).within("file")
        path = beside(self.positions.source_of(place.container, place.key), place.value)
        if path == STDIN:
            self.diagnostics.report("a graph is not read from stdin", "name a file", place)
        elif (text := self.loaded(path, place)) is not None:
            return read_graph(path, text, place, self.diagnostics)
        return None


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
        "rehearsal": {"slow": {}, "log": {}},
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
