"""Frozen values as JSON and back: of a class's fields only those that are not at their default, under their names.

A field's name loses a `_` at its end (`from_`). Reading is strict, since what is read may come from anybody: a field
of another type is an error; one that this version does not know is left out. What each class needs is worked out
once, as a row a field: a run reads and writes several hundred thousand of these.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeVar, Union

from orchestrator.core.errors import JournalError
from orchestrator.core.frozen import Struct, defaults_of
from orchestrator.core.model import Json

V = TypeVar("V")

DAMAGES = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # what reading fails with


def to_json(value: Any) -> Any:
    """A frozen value of the model as a JSON value; fields at their default are left out."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, Struct):
        return _plain(value)
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value]


def from_json(kind: type[V], raw: Json) -> V:
    """The frozen value that was written so.

    Raises:
        JournalError: it is not what this class has.
    """
    try:
        return typing.cast(V, _value(kind, raw))
    except DAMAGES as error:
        raise JournalError(f"the journal has a damaged {kind.__name__}: {error}") from error


def to_text(value: Any, skip: str = "") -> str:
    """The same as compact JSON text. Written out, since every trigger pays for two of these.

    Args:
        value: of a dataclass.
        skip: a field to leave out.
    """
    text = _text_of(value, skip)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, from a server: escaped, or no database takes it
            return json.dumps(json.loads(text), separators=(",", ":"))
    return text


def from_text(cls: type[Any], text: str, target: str | None = None) -> Any:
    """The value that was written so, of a dataclass.

    Args:
        target: the field of this name, which does not stand in the text.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it is not what this class has.
    """
    raw, end = _scan(text)
    if end != len(text):
        raise ValueError("something stands behind the object")
    if target is not None:
        raw["target"] = target
    return _reader(cls)(raw)  # type: ignore[arg-type]  # a class is hashable


# -- writing ----------------------------------------------------------------------------------------------------


def _text_of(value: Any, skip: str = "") -> str:
    parts = []
    for name, head, default in _heads(type(value)):  # type: ignore[arg-type]  # a class is hashable
        item = getattr(value, name)
        if name == skip or item == default:
            continue
        if isinstance(item, str):
            parts.append(head + _quoted(item))
        elif type(item) is int:
            parts.append(head + str(item))
        elif isinstance(item, Struct):
            parts.append(head + _text_of(item))
        else:
            parts.append(head + _dumps(item))
    return "{" + ",".join(parts) + "}"


def _plain(value: Any) -> dict[str, Any]:
    found = {}
    for name, _, default in _heads(type(value)):  # type: ignore[arg-type]  # a class is hashable
        if (item := getattr(value, name)) != default:
            found[_wire(name)] = to_json(item)
    return found


_NOTHING = object()  # in place of a default where there is none, and of a field where there is no value
_quoted = json.encoder.encode_basestring
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=to_json).encode
_scan = json.JSONDecoder().raw_decode  # takes no white space around the value: none is written


@cache
def _heads(cls: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    """For each field its name, how it begins in JSON, and its default."""
    defaults = defaults_of(cls)
    return tuple((name, f"{_quoted(_wire(name))}:", defaults.get(name, _NOTHING)) for name in cls.__struct_fields__)


def _wire(name: str) -> str:
    return name.rstrip("_")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


# -- reading ----------------------------------------------------------------------------------------------------


@cache
def _reader(cls: type[Any]) -> Callable[[Any], Any]:
    """A function made for this class, as `__init__` is: half of the time of a loop over its fields."""
    known: dict[str, Any] = {"cls": cls}
    lines = [
        "def read(raw):",
        "    if type(raw) is not dict:",
        f"        raise TypeError({f'{cls.__name__}: expected an object'!r})",
        "    get = raw.get",
    ]
    hints = typing.get_type_hints(cls)
    heads = _heads(cls)  # type: ignore[arg-type]  # a class is hashable
    for at, (name, _, default) in enumerate(heads):
        hint = hints[name]
        known |= {f"default{at}": default, f"convert{at}": _converter(hint, _wire(name), default)}
        lines.append(f"    item{at} = get({_wire(name)!r}, default{at})")
        lines.append(f"    if {_differs(hint, f'item{at}')}:")
        lines.append(f"        item{at} = convert{at}(item{at})")
    lines.append(f"    return cls({', '.join(f'item{at}' for at in range(len(heads)))})")
    exec("\n".join(lines), known)  # noqa: S102  # of the names of our own classes, nothing from outside
    made: Callable[[Any], Any] = known["read"]
    return made


def _differs(hint: Any, item: str) -> str:
    """The condition, in Python, under which an item is not taken as it is."""
    exact = _exact(hint)
    known = sorted(one.__name__ for one in exact if one is not type(None))
    tests = [f"{item} is not None"] if type(None) in exact else []
    return " and ".join([*tests, *(f"type({item}) is not {name}" for name in known)]) or "True"


def _converter(hint: Any, name: str, default: Any) -> Callable[[Any], Any]:
    """What checks or converts an item that is not of an exact type; the default may be such a one."""
    if _is_struct(hint) and default is _NOTHING:
        return _reader(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        convert = partial(_member, {one.value: one for one in hint}, hint)
    else:
        convert = partial(_value, hint)

    def converted(item: Any) -> Any:
        if item is not default:
            return convert(item)
        if item is _NOTHING:
            raise TypeError(f"`{name}` is missing")
        return item

    return converted


def _member(members: Mapping[str, Any], kind: type[StrEnum], item: Any) -> Any:
    found = members.get(item)
    return kind(item) if found is None else found


def _exact(hint: Any) -> frozenset[type]:
    if hint in (str, int, bool, float, type(None)):
        return frozenset({hint})
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        kinds = typing.get_args(hint)
        return frozenset().union(*map(_exact, kinds)) if len(kinds) == 2 else frozenset()
    return frozenset({dict}) if origin not in (None, tuple) else frozenset()


def _value(kind: Any, raw: Any) -> Any:
    """`raw` as a value of the annotated type `kind`."""
    if _is_struct(kind):
        return _reader(kind)(raw)
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(typing.get_args(kind), raw)
    if origin is tuple:
        if not isinstance(raw, list):
            raise TypeError("expected a list")
        return tuple(_value(typing.get_args(kind)[0], item) for item in raw)
    if origin is not None:
        return _checked(raw, dict)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(raw)
    if kind is float:
        return float(_checked(raw, (int, float)))
    return _checked(raw, kind)


def _one_of(kinds: tuple[Any, ...], raw: Any) -> Any:
    if raw is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) != 1:
        return raw
    return _value(rest[0], raw)


def _checked(raw: Any, kind: Any) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise TypeError(f"expected {getattr(kind, '__name__', kind)}, found {type(raw).__name__}")
    return raw
