"""Plants faults one by one; exit 1 when one stays green, when one is stale, or when all is not green without any."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from .plant import Copy, Ended, Plant, Stale
from .plants import PLANTS


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="the plants whose name has this in it")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="copies of the tree, each with a plant at a time"
    )
    parser.add_argument("--list", action="store_true", help="name them, plant none")
    parser.add_argument("--show", action="store_true", help="show how the tests failed")
    asked = parser.parse_args(argv)
    plants = [plant for plant in PLANTS if asked.only is None or asked.only in plant.name]
    if asked.list or not plants:
        _tell("\n".join(plant.name for plant in plants) or f"there is no plant {asked.only}")
        return 0 if plants else 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as name, ThreadPoolExecutor(asked.jobs) as threads:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(asked.jobs):
            copies.put(Copy(Path(name, str(number))))
        if (why := _not_green(copies, plants)) is not None:
            _tell(f"not green without any fault:\n{why}")
            return 1
        lines = threads.map(lambda plant: _line(copies, plant, asked.show), plants)
        failed = [line for line in lines if _tell(line).startswith("!")]
    _tell(f"{len(plants) - len(failed)} of {len(plants)} faults were noticed, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _not_green(copies: SimpleQueue[Copy], plants: Sequence[Plant]) -> str | None:
    """What fails without a fault; None when nothing does."""
    copy = copies.get()
    try:
        ended = copy.run(sorted({test for plant in plants for test in plant.tests}))
    finally:
        copies.put(copy)
    return ended.why[-4000:] if ended.is_red or ended.why else None


def _line(copies: SimpleQueue[Copy], plant: Plant, show: bool) -> str:
    copy = copies.get()
    try:
        ended = copy.check(plant)
    except Stale as error:
        return f"! {plant.name}: stale: {error}"
    finally:
        copies.put(copy)
    return _said(plant, ended, show)


def _said(plant: Plant, ended: Ended, show: bool) -> str:
    if not ended.is_red:
        return f"! {plant.name}: {ended.why or 'stayed green'} ({ended.seconds:.1f} s)"
    return f"  {plant.name}: red ({ended.seconds:.1f} s)" + (f"\n{ended.why}" if show else "")


def _tell(line: str) -> str:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return line


if __name__ == "__main__":
    sys.exit(main())
