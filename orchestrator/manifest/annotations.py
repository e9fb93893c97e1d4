"""The schemas of annotations in provider declarations: the usual ones at once, any other through pydantic."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic_core import CoreSchema
from pydantic_core import core_schema as core

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
    translated here.
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
