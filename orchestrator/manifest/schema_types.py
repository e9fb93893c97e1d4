"""What the schemas of a manifest are built from: patterns with their meaning in words, small strict schemas.

They are written for pydantic's core, which is loaded in a tenth of the time that models take.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

from orchestrator.limits.quiet_hours import QUIET
from orchestrator.manifest.units import DURATION, LIMIT

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
PERCENT = r"^[0-9]{1,2}(\.[0-9]{1,3})?%$|^100%$"
PART = r"^[1-9][0-9]?%$|^100%$"
CLOCK = r"^[0-9]{1,2}:[0-9]{2}$"

EXPECTED = {
    DURATION: "a duration such as 250ms, 60s, 5m, 24h or 2d",
    LIMIT: "so many calls per period, such as 40/30s or 10/1h",
    VARIABLE: "a variable's name: letters, digits and _, no digit first",
    NAME: "a name of letters, digits, `_`, `.` and `-`",
    PERCENT: "a number, or a percentage such as 20%",
    PART: "a share of 1% to 100%, such as 50%",
    CLOCK: "a time of day such as 08:00",
    QUIET: "quiet hours such as mon-fri 08:00-18:00 Europe/Berlin",
}
"""What a pattern asks for, in words."""


def list_of(one: CoreSchema, least: int | None = None) -> CoreSchema:
    """A list of them, with at least so many."""
    return core.list_schema(one, min_length=least, strict=True)


def either(*choices: CoreSchema) -> CoreSchema:
    """One of several."""
    return core.union_schema(list(choices))


def map_of(names: CoreSchema, values: CoreSchema, least: int | None = None) -> CoreSchema:
    """A map with any keys."""
    return core.dict_schema(names, values, min_length=least, strict=True)


def one_of(*words: Any) -> CoreSchema:
    """One of these values."""
    return core.literal_schema(list(words))


TEXT = core.str_schema(strict=True)
FILLED = core.str_schema(min_length=1, strict=True)
NAMED = core.str_schema(pattern=NAME, strict=True)
VARIABLES = core.str_schema(pattern=VARIABLE, strict=True)
RATE = core.str_schema(pattern=LIMIT, strict=True)
TIME = core.str_schema(pattern=DURATION, strict=True)
TIME_OF_DAY = core.str_schema(pattern=CLOCK, strict=True)
COUNT = core.int_schema(ge=0, strict=True)
PLACES = core.int_schema(ge=1, strict=True)
YES_OR_NO = core.bool_schema(strict=True)
SHARE = either(COUNT, core.str_schema(pattern=PERCENT, strict=True))
MANY = either(FILLED, list_of(FILLED))
REPO = either(FILLED, core.int_schema(strict=True))

Keys: TypeAlias = Mapping[str, Sequence[Any]]
"""Keys of a map: what each may hold, its line for the reference, and perhaps more (`layers.TargetKey`)."""


def keys_of(name: str, help_: str, keys: Keys, required: Iterable[str] = (), **more: Any) -> CoreSchema:
    """A map that has only these keys."""
    fields = {
        key: core.typed_dict_field(schema, required=key in required, metadata=_json(description=line))
        for key, (schema, line, *_) in keys.items()
    }
    about = _json(title=name, description=help_, **more.pop("about", {}))
    more.setdefault("extra_behavior", "forbid")
    return core.typed_dict_schema(fields, ref=name, strict=True, metadata=about, **more)


def _json(**about: Any) -> dict[str, Any]:
    """What the JSON Schema says in addition."""
    return {"pydantic_js_updates": about}


use = core.definition_reference_schema
"""A schema that is defined once, under a name."""

_SIMPLE: dict[Any, CoreSchema] = {
    str: core.str_schema(strict=True),
    int: core.int_schema(strict=True),
    bool: core.bool_schema(strict=True),
    float: core.float_schema(strict=True),
    Any: core.any_schema(),
    None: core.none_schema(),
    type(None): core.none_schema(),
}


def schema_of(annotation: Any) -> CoreSchema:
    """What validates a value with this annotation.

    Importing pydantic takes longer than everything else that `check` does, so what declarations commonly need is
    translated here, and only the rest goes through pydantic.
    """
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Literal:
            return core.literal_schema(list(arguments))
        case typing.Union | types.UnionType:
            return core.union_schema([schema_of(one) for one in arguments])
        case origin if origin is list:
            return core.list_schema(schema_of(*arguments), strict=True)
        case origin if origin is dict:
            keys, values = (schema_of(one) for one in arguments)
            return core.dict_schema(keys, values, strict=True)
    if hasattr(annotation, "__required_keys__"):
        return _typed_dict(annotation)
    from pydantic import TypeAdapter  # rare, and slow to import

    return TypeAdapter(annotation).core_schema


def _typed_dict(annotation: Any) -> CoreSchema:
    required = annotation.__required_keys__
    fields = {
        name: core.typed_dict_field(schema_of(inner), required=name in required)
        for name, inner in typing.get_type_hints(annotation).items()
    }
    return core.typed_dict_schema(fields, strict=True, extra_behavior="forbid")
