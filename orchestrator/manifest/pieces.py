"""What the schemas of a manifest are built from: patterns with their meaning in words, and small strict schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
    """A list of such, with so many at least."""
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

Keys = Mapping[str, tuple[CoreSchema, str]]
"""Keys of a map: what each may hold, and its line for the reference."""


def keys_of(name: str, help_: str, keys: Keys, required: Iterable[str] = (), **more: Any) -> CoreSchema:
    """A map that has only these keys."""
    fields = {
        key: core.typed_dict_field(schema, required=key in required, metadata=said(description=line))
        for key, (schema, line) in keys.items()
    }
    about = said(title=name, description=help_, **more.pop("about", {}))
    more.setdefault("extra_behavior", "forbid")
    return core.typed_dict_schema(fields, ref=name, strict=True, metadata=about, **more)


def said(**about: Any) -> dict[str, Any]:
    """What the JSON Schema tells besides."""
    return {"pydantic_js_updates": about}


use = core.definition_reference_schema
"""A schema that is defined once, under a name."""
