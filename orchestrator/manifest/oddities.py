"""What the parser itself finds odd, with a person's remedy."""

from __future__ import annotations

import re
from typing import TypeAlias

import yaml

Oddity: TypeAlias = tuple[int, int, str, str]
"""Line and column (from 1), what is wrong, the remedy."""

_PRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def of_bytes(text: bytes, largest: int) -> Oddity | None:
    """What is wrong with the bytes of a file before anybody parses them."""
    if len(text) > largest:
        return (
            0,
            0,
            f"the file is larger than {largest // 2**20} MiB",
            "split it, or list the targets in a file of `from`",
        )
    if text.startswith(_UTF16):
        return 1, 1, "the file is UTF-16", "save it as UTF-8"
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(text, error.start)
        return line, column, f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8"
    found = _PRINTABLE.search(decoded)
    if found is not None and not (found.start() == 0 and found[0] == "\ufeff"):
        line, column = _place(text, len(decoded[: found.start()].encode()))
        what = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        return line, column, f"{what} in the file", "remove it"
    return None


def _place(text: bytes, offset: int) -> tuple[int, int]:
    before = text[:offset]
    start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[start:].decode("utf-8", "replace")) + 1


def of_parser(error: yaml.YAMLError, text: bytes) -> Oddity:
    """What a parser's error means for the person who wrote the file."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    context = str(getattr(error, "context", None) or "")
    lines = text.split(b"\n")
    said = lines[line - 1].decode("utf-8", "replace") if line <= len(lines) else ""
    return (line, column, *_remedy(problem, context, said, column))


def _remedy(problem: str, context: str, line: str, column: int) -> tuple[str, str]:
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


_REFERENCE = re.compile(r"(?P<key>[\w-]*token)\s*:\s*(?P<kind>env|file|command)\s*:\s+")


def _second_colon(line: str) -> tuple[str, str]:
    found = _REFERENCE.search(line)
    if found is not None:
        key, how = found["key"], found["kind"]
        return (
            f"`{key}: {how}: ...` is a map inside a map",
            f"write it without a space: `{key}: {how}:NAME`, or `{key}: {{{how}: NAME}}`",
        )
    return "a second `: ` in one line", "quote it, if it is part of the text; else check the indentation"
