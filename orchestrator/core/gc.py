"""When the collector of garbage must not look: while much is made that is all kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def calm() -> None:
    """Has the collector look more rarely, for as long as the process lives.

    A run of many targets holds millions of values that are no garbage, and its calls leave few cycles behind: by
    default a tenth of the time goes into looking at what stays, and the more targets, the more of it.
    """
    gc.set_threshold(50_000, 20, 100)


def tidy() -> None:
    """Gives back what was dropped before a long run: the collector comes rarely from then on.

    Reading a manifest leaves circles, and with them a second copy of every target.
    """
    gc.collect()


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps the collector from walking a million new values again and again: none of them is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
