"""The exact sliding-window server of `window.c`, compiled here."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.tools import tool

SOURCE = Path(__file__).with_name("window.c")
COMPILING = threading.Lock()


@contextmanager
def served(calls: int, period: float, latency: float) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """The port of a server with that rule, and a function that tells what it has counted.

    Args:
        period: seconds.
        latency: seconds from a call's arrival to its answer; it is counted at some instant in between.
    """
    argv = [f"{_compiled().name}/window", str(calls), str(period), str(latency)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield port, lambda: _stats(port)
        finally:
            process.terminate()


def _compiled() -> tempfile.TemporaryDirectory[str]:
    """The folder of the binary, which goes when this process ends."""
    with COMPILING:
        return _compile()


@functools.cache
def _compile() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="benchmark-window-")
    command = [tool("cc"), "-O2", "-Wall", "-Wextra", "-o", f"{folder.name}/window", str(SOURCE)]
    subprocess.run(command, check=True)
    return folder


def _stats(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/stats", timeout=10) as response:
        found: dict[str, Any] = json.load(response)
    return found
