"""`python -m benchmarks [--quick] [--json FILE] [ROW ...]`: measures, prints one table, writes JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.child import Failed
from benchmarks.table import Asked, Beside, Row, lines_beside, lines_of, to_json

ROWS = (
    "triggers",
    "allowance",
    "limits",
    "scale",
    "load",
    "following",
    "startup",
    "resume",
    "report",
    "page",
    "simulation",
    "forecast",
    "live",
)


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when every goal was met, 1 when one was missed (not judged with `--quick`) or could not be measured."""
    asked = _parser().parse_args(argv)
    found: list[Row | Beside] = []
    failed: list[str] = []
    for name in asked.rows or ROWS:
        began = time.monotonic()
        sys.stderr.write(f"benchmarks: {name} ...\n")
        try:
            for row in importlib.import_module(f"benchmarks.{name}").rows(Asked(asked.quick, asked.million)):
                found.append(row)  # noqa: PERF402  # what was measured before a failure is kept
        except (Failed, OSError, subprocess.SubprocessError) as error:
            failed.append(f"benchmarks: {name} could not be measured: {error}")
        sys.stderr.write(f"benchmarks: {name} took {time.monotonic() - began:.0f} s\n")
    rows = [row for row in found if isinstance(row, Row)]
    besides = [beside for beside in found if isinstance(beside, Beside)]
    print("\n".join([*lines_of(rows), *(line for beside in besides for line in lines_beside(beside)), *failed]))
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(to_json(rows, besides, **_machine()), indent=1) + "\n", encoding="utf-8")
    missed = not asked.quick and any(row.is_met is False for row in rows)
    return 1 if failed or missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[[], *ROWS], help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition: does it still work?")
    parser.add_argument("--million", action="store_true", help="a million targets too, where sizes grow: half an hour")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    raise SystemExit(main())
