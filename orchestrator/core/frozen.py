"""Frozen values with slots: what `dataclasses.dataclass` makes, made in a third of the time and filled in half of it.

Start-up pays for each class: `dataclass` writes and compiles seven functions for it, here it is one, `__init__`; the
others are the same for all classes. Runs pay for each value: the `__init__` of a frozen dataclass sets every field by
its name through `object.__setattr__`, this one fills the slots directly.

To everybody else, the type checker first of all, these are dataclasses: `fields`, `replace` and `match` know them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool, slots: bool, eq: bool = True) -> Callable[[type[Any]], type[Any]]:
        """As the one of `dataclasses`, for frozen classes with slots and without `__post_init__`."""
        if not (frozen and slots):
            raise TypeError("take the one of `dataclasses`")
        return _made if eq else _made_by_identity


def _made(cls: type[Any]) -> type[Any]:
    made = _made_by_identity(cls)
    compared = [one.name for one in dataclasses.fields(made) if one.compare]
    made.__eq__, made.__hash__ = _comparison(made, compared)
    return made


def _made_by_identity(cls: type[Any]) -> type[Any]:
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made.__init__ = _init(made, dataclasses.fields(made))
    for name, function in _SAME.items():
        if name not in vars(made):
            setattr(made, name, function)
    return made


def _init(cls: type[Any], fields: tuple[Field[Any], ...]) -> Any:
    """The one function that differs enough from class to class to be written for it."""
    known: dict[str, Any] = {"_missing": MISSING}
    arguments, lines = ["self"], []
    for one in fields:
        name = one.name
        known[f"_set_{name}"] = getattr(cls, name).__set__
        if one.default is not MISSING:
            known[f"_default_{name}"] = one.default
            arguments.append(f"{name}=_default_{name}")
        elif one.default_factory is not MISSING:
            known[f"_make_{name}"] = one.default_factory
            arguments.append(f"{name}=_missing")
            lines.append(f"    if {name} is _missing:\n        {name} = _make_{name}()")
        else:
            arguments.append(name)
        lines.append(f"    _set_{name}(self, {name})")
    code = "\n".join([f"def __init__({', '.join(arguments)}):", *lines, "    return None"])
    exec(code, known)  # noqa: S102  # of the names of our own classes, nothing from outside
    function = known["__init__"]
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    return function


def _comparison(cls: type[Any], names: list[str]) -> tuple[Any, Any]:
    get: Any = attrgetter(*names) if names else lambda value: ()

    def is_equal(self: Any, other: Any) -> Any:
        return get(self) == get(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(get(self))

    return is_equal, hashed


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _set(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _with_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


_SAME = {
    "__repr__": _repr,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _state,
    "__setstate__": _with_state,
}
