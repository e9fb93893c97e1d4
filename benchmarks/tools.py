"""The strangers that the benchmarks need: Debian's nginx, wrk and curl, and a C compiler."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "curl": "curl", "xargs": "findutils", "cc": "gcc"}
INSTALL_AT_MOST = 600.0  # seconds


@functools.cache
def tool(name: str) -> str:
    """The path of a program, which is installed when it is missing and that is possible.

    Raises:
        SystemExit: it cannot be had; says what to install.
    """
    path = _which(name)
    if path is None:
        _install(PACKAGES[name])
        path = _which(name)
    if path is None:
        raise SystemExit(f"benchmarks: {name} is missing; install Debian's package {PACKAGES[name]}")
    return path


def has(name: str) -> bool:
    """Whether the program is there already."""
    return _which(name) is not None


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _install(package: str) -> None:
    """Asks the system's package manager, as root only: nobody is asked for a password."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    sys.stderr.write(f"benchmarks: installing {package} with apt-get\n")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
        subprocess.run([apt, *words], env=env, timeout=INSTALL_AT_MOST, check=False, stdout=subprocess.DEVNULL)
