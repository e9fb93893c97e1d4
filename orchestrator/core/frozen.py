"""Frozen values with slots: `class Limit(Struct, frozen=True)`, made, compared and copied in C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT
from msgspec import Struct as Struct
from msgspec import field as field
from msgspec.structs import asdict as asdict

if TYPE_CHECKING:
    from dataclasses import replace as replace  # of the same meaning, and it checks the names and types of the changes
else:
    from msgspec.structs import replace as replace


def defaults_of(cls: type[Struct]) -> dict[str, Any]:
    """The default of each field that has one, by the field's name."""
    found = zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False)
    return {
        name: default.factory() if hasattr(default, "factory") else default
        for name, default in found
        if default is not NODEFAULT
    }
