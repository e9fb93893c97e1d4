"""How many files, and so connections, this process may open."""

from __future__ import annotations

import math
import os

OPEN = "/dev/fd"  # on Linux and macOS: a name for each file that is open here


def free_files() -> float:
    """How many more files this process may open; infinity where there is no limit, or none that is known."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return math.inf
    try:
        return max(0, most - len(os.listdir(OPEN)))
    except OSError:
        return most
