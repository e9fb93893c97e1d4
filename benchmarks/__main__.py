"""`python -m benchmarks [--quick] [--json FILE] [ROW ...]`: measures, prints one table, writes JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.table import Asked, Row, lines_of, to_json

ROWS = ("triggers", "allowance", "scale", "load", "following", "startup", "resume", "report", "simulation")


def main(argv: list[str] | None = None) -> int:
    """Exit 0 when every goal was met, 1 otherwise; with `--quick` the goals are not judged."""
    asked = _parser().parse_args(argv)
    found: list[Row] = []
    for name in asked.rows or ROWS:
        began = time.monotonic()
        sys.stderr.write(f"benchmarks: {name} ...\n")
        found += importlib.import_module(f"benchmarks.{name}").rows(Asked(asked.quick, asked.million))
        sys.stderr.write(f"benchmarks: {name} took {time.monotonic() - began:.0f} s\n")
    print("\n".join(lines_of(found)))
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(to_json(found, **_machine()), indent=1) + "\n", encoding="utf-8")
    return 1 if not asked.quick and any(row.is_met is False for row in found) else 0


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
