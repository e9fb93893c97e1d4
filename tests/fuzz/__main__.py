"""Lets atheris look for bytes that break a promise: `python -m tests.fuzz TARGET [libFuzzer flags] [corpus folder]`.

What it finds is written to `crash-...` in the working directory; `python -m tests.fuzz TARGET FILE` plays it again.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["orchestrator"]):
    from .targets import TARGETS

if __name__ == "__main__":
    name, flags = sys.argv[1], sys.argv[2:]
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()
