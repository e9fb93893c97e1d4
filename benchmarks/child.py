"""Runs one measurement in a process of its own, so that nothing before it costs it memory, imports or caches.

`python -m benchmarks.child MODULE:FUNCTION '{"argument": ...}'` prints one JSON object: what the function returned,
with `cpu` (seconds of this process) and `peak` (bytes) beside it.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
AT_MOST = 1800.0  # seconds


class Failed(Exception):
    """A measurement that did not come to its end."""


def measure(function: str, **arguments: Any) -> dict[str, Any]:
    """What the function of a module here measured, in a fresh process.

    Args:
        function: `module:name`, below this package.

    Raises:
        Failed: with the end of what the process said.
    """
    argv = [sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=AT_MOST, check=False)
    if ended.returncode:
        raise Failed(f"{function} {arguments}: exit {ended.returncode}\n{ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def peak() -> int:
    """The most memory this process ever held, in bytes.

    The kernel's own count of this address space: what `getrusage` tells includes the parent's before `exec`.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Lets `peak` count anew, where the kernel can do that; elsewhere it stays the peak since the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    found = function(**json.loads(sys.argv[2]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"cpu": used.ru_utime + used.ru_stime, **found, "peak": peak()}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
