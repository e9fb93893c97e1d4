"""Identifies a process, and tells whether it is certainly dead; that is known only on the machine where it ran.

Linux tells it through /proc, macOS through `ps` and `sysctl`. Elsewhere nothing can be proven and only time decides.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.journal.port import Process

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NAMESPACES = ("pid", "time")  # a pid, and a start time, mean nothing outside of theirs
GONE = ("Z", "X", "x")  # dead, only not yet collected by its parent


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(socket.gethostname(), _boot(), pid, _start_of(pid) or "")


def as_text(process: Process) -> str:
    """The process in one text, for `from_text`."""
    return "\n".join((process.host, process.boot, str(process.pid), process.started))


def from_text(text: str) -> Process:
    """The process that was written so.

    Raises:
        ValueError: none was.
    """
    host, boot, pid, started = text.split("\n")
    return Process(host, boot, int(pid), started)


def boot_clock(process: Process) -> str:
    """An id of the clock that `up` reads in that process: of its boot, and of its time namespace."""
    boot, _, spaces = process.boot.partition("/")
    return "/".join([boot, spaces.rpartition("/")[2]]) if spaces else boot


up: Callable[[], float] = time.monotonic
"""Seconds since the machine's boot, in which it may have slept, where the system can tell; it never steps."""
if sys.platform == "linux":
    up = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
elif sys.platform == "darwin":
    up = partial(time.clock_gettime, time.CLOCK_MONOTONIC)  # unlike `time.monotonic` there, it runs during sleep


def is_dead(process: Process) -> bool:
    """Whether it is proven that the process no longer runs; False also means "cannot be told".

    It is proven when this machine has booted since, when it has no such process, and when its pid is another
    process by now. A process of another container, whose pids cannot be seen from here, is never proven dead.
    """
    here, there = _boot(), process.boot
    if not here or not there:
        return False
    if here.partition("/")[0] != there.partition("/")[0]:
        return process.host == socket.gethostname()
    if here != there or not process.started:
        return False
    started = _start_of(process.pid)
    return _has_no(process.pid) if started is None else started != process.started


def _boot() -> str:
    """An id of this boot, and behind a slash each of the namespaces that pids live in."""
    try:
        boot = BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return _say("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    return "/".join([boot, *(_namespace(name) for name in NAMESPACES)])


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When the process started, in the kernel's own count; None when there is none that runs."""
    try:
        # The second field is the program's name in brackets, and may hold anything; state is the third, start the 22nd.
        rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
        return None if rest[0] in GONE else rest[19]
    except (OSError, ValueError, IndexError):
        return _say("/bin/ps", "-o", "lstart=", "-p", str(pid)) or None


def _has_no(pid: int) -> bool:
    """Whether the kernel itself says so: a hidden /proc must not look like a death. A zombie counts as gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode("ascii")
    except (OSError, ValueError, IndexError):
        return False
    return state in GONE


def _say(*command: str) -> str:
    """What a system program prints, empty where there is none such; in UTC, so that a time zone changes nothing."""
    if not os.access(command[0], os.X_OK) or os.path.isdir("/proc/self"):
        return ""
    try:
        done = subprocess.run(  # noqa: S603  # fixed absolute paths, digits as the only argument
            command, env={"LC_ALL": "C", "TZ": "UTC"}, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
