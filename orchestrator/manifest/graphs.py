"""Graphs of needs from files that people have: GraphViz, JSON (`{"repo": ["need"]}`), CSV (`repo,needs`).

Of GraphViz the nodes and arrows are read, in statements, chains and groups; attributes and layout are passed over.
Names are names of targets: an id, a repository, or `repo@branch`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from orchestrator.manifest.diagnostics import Diagnostics, ManifestError, Place, pack
from orchestrator.manifest.yaml_reader import read_json

MOST_ARROWS = 1_000_000
DEEPEST = 20  # groups in groups

Arrow: TypeAlias = tuple[str, str]
"""What needs, and what it needs."""


class Graph(NamedTuple):
    """The arrows of a file, and the place in the manifest that names it."""

    arrows: Sequence[Arrow]
    place: Place
    name: str


class _Bad(Exception):
    """What is wrong, on which line, and what to do about it."""

    def __init__(self, line: int, text: str, remedy: str) -> None:
        super().__init__(text)
        self.line, self.remedy = line, remedy


def read_graph(name: str, text: bytes, place: Place, diagnostics: Diagnostics) -> Graph | None:
    """The graph in a file; None, and a problem, when it is none.

    Args:
        place: of the key that names the file: `needs_from`, or its `file`.
    """
    reverse = isinstance(place.container, dict) and place.container.get("reverse") is True
    source = len(diagnostics.positions.sources)
    try:
        decoded = _decoded(text)
        if name.lower().endswith(".json"):
            found = _bounded(_of_json(name, decoded, diagnostics))
        else:
            diagnostics.positions.add_source(name)
            found = _bounded(_of_csv(decoded) if name.lower().endswith((".csv", ".tsv")) else _of_dot(decoded))
    except ManifestError:
        return None  # it stands in the list
    except _Bad as bad:
        diagnostics.report_at(pack(source, bad.line, 1), str(bad), bad.remedy)
        return None
    return Graph([(need, who) for who, need in found] if reverse else found, place, name)


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _Bad(line, "the file is not UTF-8", "save it as UTF-8 text") from None


def _bounded(arrows: Iterable[Arrow]) -> Sequence[Arrow]:
    found: dict[Arrow, None] = {}
    for number, arrow in enumerate(arrows):
        found[arrow] = None
        if number >= MOST_ARROWS:
            raise _Bad(1, f"more than {MOST_ARROWS:,} arrows", "leave out what is no target")
    return list(found)


# -- JSON and CSV -----------------------------------------------------------------------------------------------


def _of_json(name: str, text: str, diagnostics: Diagnostics) -> Iterator[Arrow]:
    values = read_json(name, text, diagnostics)
    wanted = 'expected an object of lists: {"acme/api": ["acme/lib"]}'
    if len(values) != 1 or not isinstance(values[0], dict):
        raise _Bad(1, wanted, "write one")
    for who, needs in values[0].items():
        for need in needs if isinstance(needs, list) else [needs]:
            if not isinstance(need, str):
                raise _Bad(1, f"{wanted}; {who[:100]!r} has something else", "write names in quotes")
            yield who, need


def _of_csv(text: str) -> Iterator[Arrow]:
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip() for cell in next((row for row in reader if row), [])]
        if not {"repo", "needs"} <= set(header):
            raise _Bad(
                1, f"no columns `repo` and `needs` in the header, found {', '.join(header)[:100]!r}", "name them"
            )
        who, needs = header.index("repo"), header.index("needs")
        for row in reader:
            if len(row) > max(who, needs):
                yield from ((row[who].strip(), need) for need in map(str.strip, row[needs].split(";")) if need)
    except csv.Error as error:
        raise _Bad(reader.line_num or 1, f"no CSV: {error}", "look at the quotes") from None


# -- GraphViz ---------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s+|//[^\n]*|(?m:^\#[^\n]*)"  # passed over
    r'|(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<mark>->|--|[{}\[\];,=<])|(?P<name>(?:[^\s"{}\[\];,=<>-]|-(?![->]))+)',
    re.DOTALL,
)
_WORDS = ("graph", "node", "edge", "strict", "digraph")


class _Token(NamedTuple):
    line: int
    text: str
    is_mark: bool

    @property
    def is_end(self) -> bool:
        """Whether a list of attributes ends here."""
        return self.is_mark and self.text == "]"


class _Ahead:
    """Tokens, the next of which can be looked at."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next = next(tokens, None)
        self.line = 1

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> _Token:
        token, self._next = self._next, next(self._tokens, None) if self._next is not None else None
        if token is None:
            raise StopIteration
        self.line = token.line
        return token

    def next_is(self, mark: str) -> bool:
        """Whether this mark comes next."""
        return self._next is not None and self._next.is_mark and self._next.text == mark

    def skip(self, count: int) -> None:
        """Passes over so many tokens."""
        for _ in range(count):
            next(self, None)


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        if text.startswith("/*", at):
            end = _end_of(text, "*/", at, line)
            line, at = line + text.count("\n", at, end), end
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise _Bad(line, f"no GraphViz: {text[at : at + 20]!r}", "see the quotes, and what stands before it")
        if (mark := found["mark"]) == "<":  # a label in HTML
            end = _end_of_html(text, at, line)
            yield _Token(line, text[at:end], is_mark=False)
        else:
            end = found.end()
            if mark or found["name"]:
                yield _Token(line, found[0], is_mark=bool(mark))
            elif found["text"]:
                yield _Token(line, re.sub(r'\\(["\\])', r"\1", found["text"][1:-1]), is_mark=False)
        line += text.count("\n", at, end)
        at = end


def _end_of(text: str, mark: str, at: int, line: int) -> int:
    if (end := text.find(mark, at)) < 0:
        raise _Bad(line, "no GraphViz: a comment is opened and not closed", "close it")
    return end + len(mark)


def _end_of_html(text: str, at: int, line: int) -> int:
    depth = 0
    for found in re.compile("[<>]").finditer(text, at):
        depth += 1 if found[0] == "<" else -1
        if not depth:
            return found.end()
    raise _Bad(line, "no GraphViz: `<` is opened and not closed", "close it")


class _Group:
    """Nodes between braces, and how far the statement in them has come."""

    def __init__(self) -> None:
        self.nodes: dict[str, None] = {}
        self.left: Sequence[str] = ()
        self.has_arrow = False

    def end_statement(self) -> None:
        """What comes next has nothing to do with what came before."""
        self.left, self.has_arrow = (), False

    def operand(self, nodes: Sequence[str]) -> Iterator[Arrow]:
        """A node, or a group of them, behind an arrow or not."""
        self.nodes.update(dict.fromkeys(nodes))
        if self.has_arrow:
            yield from ((who, need) for who in self.left for need in nodes)
        self.left, self.has_arrow = nodes, False


def _of_dot(text: str) -> Iterator[Arrow]:
    tokens = _Ahead(_tokens(text))
    groups: list[_Group] = []
    has_graph = False
    for token in tokens:
        if token.is_mark:
            has_graph = has_graph or token.text == "{"
            yield from _mark(token, tokens, groups)
        elif tokens.next_is("="):  # an attribute of the graph
            tokens.skip(2)
        elif groups and token.text.lower() == "subgraph":
            if not tokens.next_is("{"):
                tokens.skip(1)
        elif groups and not (token.text.lower() in _WORDS and tokens.next_is("[")):
            yield from groups[-1].operand([token.text])
        elif not groups and token.text.lower() == "graph":
            raise _Bad(token.line, "an undirected graph does not say which target needs which", "write a digraph")
    if not has_graph:
        raise _Bad(1, "no GraphViz: there is no graph in it", "write `digraph { a -> b }`")
    if groups:
        raise _Bad(tokens.line, "no GraphViz: `{` is opened and not closed", "close it")


def _mark(token: _Token, tokens: _Ahead, groups: list[_Group]) -> Iterator[Arrow]:
    match token.text:
        case "{":
            if len(groups) >= DEEPEST:
                raise _Bad(token.line, f"groups nested deeper than {DEEPEST}", "flatten it")
            groups.append(_Group())
        case "}" if groups:
            inner = groups.pop()
            if groups:
                yield from groups[-1].operand(list(inner.nodes))
        case "[":
            while (inner_token := next(tokens, None)) is not None and not inner_token.is_end:
                pass
        case "->" if groups and groups[-1].left:
            groups[-1].has_arrow = True
        case ";" | "," if groups:
            groups[-1].end_statement()
        case "--":
            raise _Bad(token.line, "`--` does not say which target needs which", "write `->`")
        case _:
            raise _Bad(token.line, f"no GraphViz: `{token.text}` out of place", "see what stands before it")
