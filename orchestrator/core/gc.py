"""Tunes and pauses the garbage collector where much is made that is all kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
