"""Tells JSON from YAML that looks like it, and finds the values in it with their lines.

YAML reads most JSON, not all: tabs, escapes of surrogate pairs, `1e5`, long keys and a line separator in a text are
different there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r'\n|"(?:[^"\\]|\\.)*"|[^\s",:{}\[\]]+|[{}\[\]]')
_SPACE = re.compile(r"[ \t\r\n]*")


class _Never(ValueError):
    """NaN or Infinity, which JSON has not."""


def _refuse(word: str) -> Any:
    raise _Never(f"JSON has no {word}")


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_int=len, parse_float=len)  # numbers of any length, at no cost


def json_problem(text: str) -> tuple[int, str] | None:
    """Why the text is not one JSON value after another, as a line and a sentence; None where it is."""
    at = _end_of_space(text, 0)
    try:
        while at < len(text):
            at = _end_of_space(text, _DECODER.raw_decode(text, at)[1])
    except json.JSONDecodeError as error:
        return error.lineno, error.msg
    except (RecursionError, _Never) as error:
        return 1, str(error) if isinstance(error, _Never) else "nested too deeply"
    return None


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def json_tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Brackets, texts and other scalars of valid JSON, as they are written, each with line and column from 0."""
    line = start = 0
    for found in _TOKEN.finditer(text):
        if found[0] == "\n":
            line, start = line + 1, found.end()
        else:
            yield found[0], line, found.start() - start


def json_value(token: str) -> Any:
    """What a scalar says; NaN for a number of more digits than anybody reads."""
    try:
        return json.loads(token)
    except ValueError:
        return float("nan")
