"""Frozen values, and the JSON that they are written as: `class Limit(Struct, frozen=True, omit_defaults=True)`.

Of a value only the fields are written that are not at their default, under their names; a name loses a `_` at its end
(`from_`). Reading is strict, since anybody may have written the text: a field of another type is an error, a field that
this version does not know is left out. Values of which a run makes many say `gc=False`: no cycle leads through them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import NODEFAULT
from msgspec import Struct as Struct
from msgspec import field as field
from msgspec.structs import asdict as asdict

if TYPE_CHECKING:
    from dataclasses import replace as replace  # of the same meaning, and it checks the names and types of the changes
else:
    from msgspec.structs import replace as replace

V = TypeVar("V")
DAMAGES = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # what reading fails with


def to_json(value: Any) -> Any:
    """A value as plain JSON: objects, lists, texts, numbers."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return value.value if isinstance(value, StrEnum) else str(value)
    if isinstance(value, Struct):
        return _plain(value)
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value]


def from_json(kind: type[V], raw: Any) -> V:
    """The value that was written so.

    Raises:
        JournalError: it is not what this class has.
    """
    try:
        return convert(raw, kind)
    except DAMAGES as error:
        from orchestrator.core.errors import JournalError  # errors rest on the model, and the model on this

        raise JournalError(f"the journal has a damaged {kind.__name__}: {error}") from error


def convert(raw: Any, kind: type[V]) -> V:
    """As `from_json`, for those who tell themselves what is damaged.

    Raises:
        ValueError, TypeError, RecursionError: it is not what this class has.
    """
    return msgspec.convert(raw, kind, dec_hook=_read)


def to_text(value: Struct) -> str:
    """The same as compact JSON text."""
    try:
        text = _ENCODER.encode(_by_identity(value)).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, from a server: escaped, or no database takes it
        return _dumps(value, ensure_ascii=True)
    if "null" in text:  # perhaps written for a number that JSON has not: infinity
        return _dumps(value, ensure_ascii=False)
    return text


@cache
def decoder_of(kind: type[V]) -> Callable[[str], V]:
    """The function that reads JSON text as a value of this class.

    It raises one of DAMAGES for what is not of this class, and for what `json` alone writes: infinity, and half of a
    surrogate pair.
    """
    return msgspec.json.Decoder(kind, dec_hook=_read).decode


def defaults_of(cls: type[Struct]) -> dict[str, Any]:
    """The default of each field that has one, by the field's name."""
    found = zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False)
    return {
        name: default.factory() if hasattr(default, "factory") else default
        for name, default in found
        if default is not NODEFAULT
    }


def _dumps(value: Struct, *, ensure_ascii: bool) -> str:
    import json  # for odd texts alone: verbs that read no journal start without it

    return json.dumps(to_json(value), separators=(",", ":"), ensure_ascii=ensure_ascii)


def _plain(value: Struct) -> dict[str, Any]:
    defaults, found = _defaults(type(value)), {}
    for name, wire in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        if (item := getattr(value, name)) != defaults.get(name, NODEFAULT):
            found[wire] = to_json(item)
    return found


def _by_identity(value: V) -> V:
    """The value with each default that is recognised by identity alone put where an equal one stands."""
    for name, default in _told_by_identity(type(value)):  # type: ignore[arg-type]  # a class is hashable
        if getattr(value, name) == default:
            value = replace(value, **{name: default})  # type: ignore[type-var]
    return value


_defaults = cache(defaults_of)


@cache
def _told_by_identity(cls: type[Struct]) -> tuple[tuple[str, Any], ...]:
    found = _defaults(cls).items()
    return tuple((name, one) for name, one in found if isinstance(one, (float, str, Struct)) and one != "")


def _written(value: Any) -> Any:
    """What msgspec does not know: a text of a class of its own (`Scope`), or a map that is no dict."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _read(kind: Any, raw: Any) -> Any:
    if not isinstance(raw, str):
        raise TypeError(f"expected text, found {type(raw).__name__}")
    return kind.of(raw)


_ENCODER = msgspec.json.Encoder(enc_hook=_written)


# -- the garbage collector, where many values are made that are all kept ----------------------------------------


def relax_gc() -> None:
    """Raises the thresholds of the collector for the rest of the process.

    A run of many targets holds millions of values that are no garbage, and its calls leave few cycles behind: with
    the default thresholds a tenth of the time is spent on walking what stays.
    """
    gc.set_threshold(50_000, 20, 100)


def collect_now() -> None:
    """Frees what was dropped before a long run: reading a manifest leaves cycles, and with them a second copy of it."""
    gc.collect()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Keeps the collector from walking a million new values again and again while they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
