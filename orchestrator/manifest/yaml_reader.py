"""Reads YAML into plain values with their positions, in one pass over the parser's events; everything is bounded.

The parser's own composer is not used: it recurses, so deep nesting would end the process, and it makes a node with
two marks for every value. Positions are kept in packed arrays beside the containers instead.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import yaml
from yaml import events as yaml_events

from orchestrator.core.frozen import Struct, field
from orchestrator.manifest.diagnostics import (
    COLUMN_BITS,
    LINE_BITS,
    Diagnostics,
    ManifestError,
    Value,
    explain_bytes,
    explain_parser,
    pack,
)
from orchestrator.manifest.json_reader import json_problem, json_tokens, json_value

DEEPEST = 100  # levels of nesting
MOST_VALUES = 5_000_000  # values in one file
MOST_ALIASED = 2_000_000  # values that aliases may repeat, in one file
LARGEST = 64 * 1024 * 1024  # bytes of one file

_MERGE = object()  # an unquoted `<<` as a key
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}str", f"{_TAG}value", f"{_TAG}merge"}
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair
_LONGEST_PATH = 120  # characters of a path of keys in a message


def read_yaml(name: str, text: bytes, diagnostics: Diagnostics) -> Value:
    """The value of a YAML file, or of a JSON file.

    Args:
        name: the file's name for messages.
        diagnostics: gets the positions, and problems that do not keep us from reading on (duplicate keys, tags).

    Raises:
        ManifestError: the file cannot be read on; holds all problems so far.
    """
    builder = _Builder(diagnostics.positions.add_source(name), diagnostics)
    try:
        if (problem := explain_bytes(text, LARGEST)) is not None:
            builder.fatal(*problem)
        if text.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and json_problem(text.decode("utf-8-sig")) is None:
            return builder.json(text.decode("utf-8-sig"))[0]
        return builder.build(text)
    except yaml.YAMLError as error:
        line, column, sentence, remedy = explain_parser(error, text)
        builder.report(pack(builder.source, line, column), sentence, remedy)
    except _Fatal:
        pass  # it stands in the list
    raise ManifestError(diagnostics.problems)


def read_json(name: str, text: str, diagnostics: Diagnostics) -> list[Value]:
    """The values of a file that is one JSON value after another, as a list with positions.

    Raises:
        ManifestError: as with YAML, or it is no JSON.
    """
    builder = _Builder(diagnostics.positions.add_source(name), diagnostics)
    try:
        if (problem := json_problem(text)) is not None:
            builder.fatal(problem[0], 1, f"no JSON: {problem[1]}", "look at its quotes, commas and brackets")
        return builder.json(text, many=True)
    except _Fatal:
        raise ManifestError(diagnostics.problems) from None


class _Mark(NamedTuple):
    """Where a bracket of JSON stands, as YAML's events tell it."""

    line: int
    column: int
    tag: None = None
    anchor: None = None

    @property
    def start_mark(self) -> _Mark:
        return self


class _Fatal(Exception):
    """The file cannot be read on; the problem is in the list."""


class _Builder:
    """Turns the parser's events into values, without recursion."""

    def __init__(self, source: int, diagnostics: Diagnostics) -> None:
        self.source = source
        self.base = source << (LINE_BITS + COLUMN_BITS)
        self.diagnostics = diagnostics
        self.positions = diagnostics.positions
        self.stack: list[_Frame] = []
        self.frame = _Frame([], array("Q"), None)  # the document itself, as a list of one
        self.anchors: dict[str, tuple[Value, int] | None] = {}
        self.values = 0
        self.aliased = 0

    def build(self, text: bytes) -> Value:
        root = self.frame
        scalar = yaml_events.ScalarEvent
        on_scalar = self.scalar
        others: dict[type, Callable[[Any], None]] = {
            yaml_events.SequenceStartEvent: self.start_list,
            yaml_events.MappingStartEvent: self.start_map,
            yaml_events.SequenceEndEvent: self.end,
            yaml_events.MappingEndEvent: self.end,
            yaml_events.AliasEvent: self.alias,
            yaml_events.DocumentStartEvent: self.document,
        }
        for event in yaml.parse(text, Loader=_LOADER):
            kind = type(event)
            if kind is scalar:
                on_scalar(event)
            elif kind in others:
                others[kind](event)
        if not root.container:
            remedy = "start with `version: 1` and `targets:` (`orchestrator init` writes one)"
            self.fatal(1, 1, "the file is empty", remedy)
        return root.container[0]

    def json(self, text: str, *, many: bool = False) -> list[Value]:
        """The values of valid JSON, with their positions."""
        root = self.frame
        for token, line, column in json_tokens(text):
            mark, first = _Mark(line, column), token[0]
            if not self.stack and not many:
                self.document(mark)
            if first in "{[":
                self.open({} if first == "{" else [], mark)
            elif first in "}]":
                self.end(mark)
            else:
                self.json_scalar(json_value(token), token, mark)
        self.positions.keep(root.container, root.positions)
        return cast("list[Value]", root.container)

    def json_scalar(self, value: Value, token: str, mark: _Mark) -> None:
        position = pack(self.source, mark.line + 1, mark.column + 1)
        if "\\u" in token and ("\0" in value or (not value.isascii() and _HALF.search(value))):
            self.report(position, "text with a NUL character, or with half of a pair of escapes", "remove it")
            value = _HALF.sub("", value)
        self.values += 1
        if self.values > MOST_VALUES:
            self.fatal(mark.line + 1, mark.column + 1, f"more than {MOST_VALUES} values in one file", "split it")
        self.put(value, position, None if isinstance(value, str) else token)

    def document(self, event: Any) -> None:
        if self.frame.container:
            mark = event.start_mark
            self.fatal(mark.line + 1, 1, "a second document begins", "one manifest is one document: remove the `---`")

    def scalar(self, event: Any) -> None:
        text: str = event.value
        mark = event.start_mark
        position = self.base | (mark.line + 1) << COLUMN_BITS | mark.column + 1
        written = None
        value: Value = text
        if event.tag is not None:
            self.tag(event.tag, position)
        elif event.implicit[0] and (text[:1] in _RESOLVERS):
            value = plain(text)
            if value is not text:
                written = text
            elif text == "<<" and self.frame.wants_key:
                value = _MERGE
        if "\0" in text:
            self.report(position, "text with a NUL character", "remove the \\0")
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self.values += 1
        if self.values > MOST_VALUES:
            self.fatal(mark.line + 1, mark.column + 1, f"more than {MOST_VALUES} values in one file", "split it")
        self.put(value, position, written)

    def put(self, value: Value, position: int, written: str | None = None) -> None:
        """Adds a value to the container that is open."""
        frame = self.frame
        container = frame.container
        if type(container) is list:
            if written is not None:
                self.positions.keep_written(container, len(container), written)
            container.append(value)
            frame.positions.append(position)
        elif frame.key_at == 0:
            self.key(value, position, written)
        elif frame.merging:
            self.merge(value, position)
        else:
            if frame.key is not None:
                if written is not None:
                    self.positions.keep_written(container, len(container), written)
                frame.add(frame.key, frame.key_at, value, position)
            frame.key_at = 0

    def key(self, key: Value, position: int, written: str | None) -> None:
        frame = self.frame
        frame.key_at = position
        frame.merging = key is _MERGE
        if frame.merging:
            return
        if written == "on" and len(self.stack) == 3 and self.stack[1].key == "notify":
            key = written  # a key of ours that YAML takes for true
        frame.key = key if type(key) is str else None
        if frame.key is None:
            found = f"{written!s}, {kind(key)}" if written is not None else kind(key)
            remedy = f'quote it: "{written}"' if written else "write text there"
            self.report(position, f"a key must be text, found {found}", remedy)
        elif key in frame.own:
            first = self.positions.where(frame.own[key])
            text = f"duplicate key `{key[:100]}`, first at {first}"
            self.report(position, text, "remove or rename one of the two")
            frame.key = None
        else:
            frame.own[key] = position

    def merge(self, value: Value, position: int) -> None:
        """`<<: *other`: keys of the other map, where this one has no such key."""
        frame = self.frame
        frame.key_at, frame.merging = 0, False
        others = value if isinstance(value, list) else [value]
        if not all(isinstance(other, dict) for other in others):
            self.report(position, "`<<` takes a map or a list of maps", "point it at an anchor")
            return
        for other in others:
            for key in other:
                frame.inherited.setdefault(key, (other, key))

    def start_list(self, event: Any) -> None:
        self.open([], event)

    def start_map(self, event: Any) -> None:
        self.open({}, event)

    def open(self, container: Value, event: Any) -> None:
        mark = event.start_mark
        position = self.base | (mark.line + 1) << COLUMN_BITS | mark.column + 1
        if event.tag is not None:
            self.tag(event.tag, position)
        if len(self.stack) >= DEEPEST:
            self.fatal(mark.line + 1, mark.column + 1, f"nested deeper than {DEEPEST} levels", "flatten it")
        self.values += 1
        if self.values > MOST_VALUES:
            self.fatal(mark.line + 1, mark.column + 1, f"more than {MOST_VALUES} values in one file", "split it")
        if event.anchor is not None:
            self.anchors[event.anchor] = None  # not complete yet: an alias to it would contain itself
        self.stack.append(self.frame)
        self.frame = _Frame(container, array("Q"), event.anchor, position, self.values + self.aliased)

    def end(self, event: Any) -> None:
        closed = self.frame
        self.frame = self.stack.pop()
        if closed.inherited:
            self.inherit(closed)
        self.positions.keep(closed.container, closed.positions)
        if closed.anchor is not None:
            size = self.values + self.aliased - closed.began + 1
            self.anchors[closed.anchor] = (closed.container, size)
        self.put(closed.container, closed.position)

    def inherit(self, frame: _Frame) -> None:
        for key, (other, _) in frame.inherited.items():
            if key not in frame.own:
                if (written := self.positions.written(other, key)) is not None:
                    self.positions.keep_written(frame.container, len(frame.container), written)
                frame.add(key, self.positions.at(other, key, of_key=True), other[key], self.positions.at(other, key))

    def alias(self, event: Any) -> None:
        mark = event.start_mark
        line, column, name = mark.line + 1, mark.column + 1, event.anchor
        if name not in self.anchors:
            text = f"`*{name}` is an alias in YAML, and no anchor `&{name}` stands before it"
            self.report(pack(self.source, line, column), text, f'quote it, if text is meant: "*{name}"')
            self.put(f"*{name}", pack(self.source, line, column))
            return
        known = self.anchors[name]
        if known is None:
            self.fatal(line, column, f"the alias `*{name}` stands inside its own anchor", "remove it")
        value, size = cast("tuple[Value, int]", known)
        self.aliased += size
        if self.aliased > MOST_ALIASED:
            text = f"aliases repeat more than {MOST_ALIASED} values (an alias bomb?)"
            self.fatal(line, column, text, "use fewer aliases of aliases")
        self.put(value, pack(self.source, line, column))

    def tag(self, tag: str, position: int) -> None:
        short = tag.replace(_TAG, "!!")[:100]
        remedy = "remove it, and quote the value if text is meant"
        self.report(position, f"YAML tags such as `{short}` are not allowed", remedy)

    def report(self, position: int, text: str, remedy: str) -> None:
        self.diagnostics.report_at(position, text, remedy, self.path())

    def fatal(self, line: int, column: int, text: str, remedy: str) -> None:
        self.report(pack(self.source, line, column), text, remedy)
        raise _Fatal

    def path(self) -> str:
        """The keys that lead to the place where the parser is."""
        steps = ""
        for frame in [*self.stack[1:], self.frame] if self.stack else []:
            if isinstance(frame.container, list):
                steps += f"[{len(frame.container)}]"
            elif isinstance(frame.key, str) and frame.key_at:
                steps += f".{frame.key[:100]}"
        steps = steps.removeprefix(".")
        return steps if len(steps) <= _LONGEST_PATH else f"{steps[:_LONGEST_PATH]}..."


class _Frame(Struct):
    """A container that is open. A key comes next where `key_at` is 0, else the value of the key that stands there."""

    container: Value
    positions: array[int]
    anchor: str | None
    position: int = 0
    began: int = 0
    key: str | None = None
    key_at: int = 0
    merging: bool = False
    own: dict[str, int] = field(default_factory=dict)
    inherited: dict[str, tuple[Value, str]] = field(default_factory=dict)

    @property
    def wants_key(self) -> bool:
        """Whether a key comes next."""
        return type(self.container) is dict and self.key_at == 0

    def add(self, key: str, key_at: int, value: Value, position: int) -> None:
        self.container[key] = value
        self.positions.append(key_at)
        self.positions.append(position)


def plain(text: str) -> Value:
    """What a safe loader makes of an unquoted scalar; the text itself where it is text."""
    for tag, shape in _RESOLVERS.get(text[:1], ()):
        if shape.match(text):
            return text if tag in _TEXTS else _construct(tag, text)
    return text


def _construct(tag: str, text: str) -> Value:
    constructor = yaml.constructor.SafeConstructor()
    make: Callable[[Any], Any] = yaml.SafeLoader.yaml_constructors[tag]
    try:
        return make(constructor, yaml.ScalarNode(tag, text))  # type: ignore[call-arg]  # an unbound method
    except (ValueError, OverflowError):  # the 45th of the 13th, or a number of 5,000 digits
        return float("nan")


def kind(value: Value) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"which YAML reads as {str(value).lower()}"
        case float() if value != value:
            return "which is no value in YAML"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a map"
    return "a date"
