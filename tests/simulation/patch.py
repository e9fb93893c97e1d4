"""Puts something else in the place of what a class or a module has, for as long as a bug is planted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patched(cls: Any, **methods: Any) -> Iterator[None]:
    """The class or module with these in place of its own."""
    before = {name: getattr(cls, name) for name in methods}
    for name, method in methods.items():
        setattr(cls, name, method)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(cls, name, method)
