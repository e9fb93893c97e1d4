"""From the command `resume` to the first new trigger, in a state with a large run that was left half-way."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import drive, window
from benchmarks.child import ROOT, Failed, measure
from benchmarks.startup import AS_SCRIPT, compiled
from benchmarks.table import Asked, Row

PATIENCE = 120.0  # seconds


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    count, times = (2_000, 1) if asked.quick else (100_000, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-compiled-") as cache:
        _once(10, Path(cache))  # compiles what is imported, as an installer does
        seconds = [_once(count, Path(cache)) for _ in range(times)]
    aside = f"half of them triggered, a quarter ended; from {min(seconds):.2f} to {max(seconds):.2f} s"
    what = f"resume of a run with {count:,} targets, first new trigger"
    yield Row(what, statistics.median(seconds), "s", "", ("at most", 3.0), aside, {"seconds": seconds})


def _once(count: int, cache: Path) -> float:
    """Seconds from the start of the process to the first trigger that the server sees.

    Args:
        cache: where compiled files are.
    """
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-resume-") as folder,
        window.served(10**6, 1.0, 0.01) as (port, stats),
    ):
        measure("past:fill", folder=folder, count=count, triggered=count // 2, ended=count // 4, port=port)
        env = {**os.environ, **compiled(cache), "PYTHONPATH": str(ROOT), "TOKEN": drive.TOKEN}
        argv = [sys.executable, "-c", AS_SCRIPT, "resume", drive.RUN, "--state", folder, "-q"]
        began = time.monotonic()
        with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                return _first(process, stats) - began
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=PATIENCE)


def _first(process: subprocess.Popen[str], stats: Callable[[], dict[str, Any]]) -> float:
    """When the first trigger came, by the clock that all processes share."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        if first := stats()["first"]:
            return float(first)
        time.sleep(0.05)  # the server keeps the exact time; this only asks for it
    said = process.stderr.read() if process.poll() is not None and process.stderr is not None else ""
    raise Failed(f"resume triggered nothing\n{said[-2000:]}")
