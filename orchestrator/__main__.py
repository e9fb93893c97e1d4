"""`orchestrator` and `python -m orchestrator`. `--version` is answered before anything slow is imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        from orchestrator import __version__

        sys.stdout.write(f"orchestrator {__version__}\n")
        raise SystemExit(0)
    gc.disable()  # `run` enables it once everything is imported
    try:
        from orchestrator.cli.main import run

        code = run(words)
    except KeyboardInterrupt:  # before `run` could take care of it
        code = 130
    gc.freeze()  # the process ends: no collection need look at what it leaves
    raise SystemExit(code)


if __name__ == "__main__":
    main()
