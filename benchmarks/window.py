"""The exact sliding-window server of `window.c`, compiled here."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.tools import tool

SOURCE = Path(__file__).with_name("window.c")


@contextmanager
def served(calls: int, period: float, latency: float) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """The port of a server with that rule, and a function that tells what it has counted.

    Args:
        period: seconds.
        latency: seconds from a call's arrival to its answer; it is counted at some instant in between.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-window-") as folder:
        binary = f"{folder}/window"
        subprocess.run([tool("cc"), "-O2", "-Wall", "-Wextra", "-o", binary, str(SOURCE)], check=True)
        argv = [binary, str(calls), str(period), str(latency)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                yield port, lambda: _stats(port)
            finally:
                process.terminate()


def _stats(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/stats", timeout=10) as response:
        found: dict[str, Any] = json.load(response)
    return found
