"""How often the way of a manifest line to its POST moves from one module to another.

`python -m benchmarks.hops [--against DIR] [--edges N]` counts calls inside the package, and those of them whose caller
stands in another module of it, from the start of `run one.yaml --sandbox -q` with one target to the moment at which
the trigger's POST is handed to aiohttp (the run is detached, so that it ends soon after). The look-alike is left out.
Each tree is counted in a process of its own that has done the same run once before, so that nothing is imported any
more; the median of three runs counts.

A coroutine that goes on after an `await` is a call for the interpreter too, and is counted with the others, as is what
runs beside the way (heartbeat, coordinator); `entered` is how many calls began a function.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

RUNS = 3
MANIFEST = "version: 1\nname: one\ntargets: [acme/widget]\n"
COMMAND = ("run", "one.yaml", "--sandbox", "-q", "--detach")
LEFT_OUT = ("sandbox", "lookalike")  # folders of the package that play the service
FIELDS = ("calls", "entered", "moves")


class NotReached(Exception):
    """The run ended before it triggered anything."""


class Counting:
    """Counts the calls of this thread until a POST is handed over.

    Args:
        package: the folder of the package.

    Attributes:
        edges: calls by the modules of caller and callee, where these differ.
    """

    def __init__(self, package: Path) -> None:
        self.calls = self.entered = 0
        self.edges: Counter[tuple[str, str]] = Counter()
        self.is_over = False
        self._package = f"{package}{os.sep}"
        self._modules: dict[str, str] = {}

    def begin(self) -> None:
        """Counts from here."""
        sys.setprofile(self._count)

    def end(self) -> None:
        """The POST leaves."""
        sys.setprofile(None)
        self.is_over = True

    def _count(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not (callee := self._module(frame)):
            return
        self.calls += 1
        self.entered += frame.f_lasti <= 0 or not frame.f_code.co_flags & RESUMES or _is_first(frame)
        caller = "" if frame.f_back is None else self._module(frame.f_back)
        if caller and caller != callee:
            self.edges[caller, callee] += 1

    def _module(self, frame: FrameType) -> str:
        """The module of a frame; empty where it does not count."""
        file = frame.f_code.co_filename
        module = self._modules.get(file)
        if module is None:
            inside = file.removeprefix(self._package)
            counts = inside != file and inside.partition(os.sep)[0] not in LEFT_OUT
            module = self._modules[file] = inside.removesuffix(".py") if counts else ""
        return module


RESUMES = 0x20 | 0x80 | 0x200  # generators, coroutines, asynchronous generators


def _is_first(frame: FrameType) -> bool:
    """Whether a coroutine begins: the argument of its RESUME instruction is 0, later it tells what it waited for."""
    return frame.f_code.co_code[frame.f_lasti + 1] & 3 == 0


def count(tree: Path) -> dict[str, Any]:
    """Counts in this process, which must not have imported the package yet."""
    import aiohttp

    import orchestrator  # only now: of the tree that is counted

    package = Path(orchestrator.__file__).parent
    if package != tree / "orchestrator":
        raise NotReached(f"imported {package}, not the package in {tree}")
    try:
        from orchestrator.cli.main import run
    except ModuleNotFoundError:
        from orchestrator.cli import run

    counting = Counting(package)
    send = aiohttp.ClientSession._request

    def watched(session: aiohttp.ClientSession, method: str, *args: Any, **more: Any) -> Any:
        if method == "POST":
            counting.end()
        return send(session, method, *args, **more)

    aiohttp.ClientSession._request = watched  # type: ignore[method-assign, assignment]  # any arguments, passed on
    found = []
    for number in range(RUNS + 1):
        with tempfile.TemporaryDirectory(prefix="benchmark-hops-") as name:
            os.chdir(name)
            os.environ["XDG_STATE_HOME"] = name
            Path("one.yaml").write_text(MANIFEST, encoding="utf-8")
            counting = Counting(package)
            if number:
                counting.begin()
            code = run(COMMAND)
            sys.setprofile(None)
            os.chdir("/")
        if code not in (0, 1) or not counting.is_over:
            raise NotReached(f"the run ended with {code}{'' if counting.is_over else ', and nothing was triggered'}")
        if number:
            found.append(counting)
    middle = sorted(found, key=lambda one: one.edges.total())[RUNS // 2]
    return {
        "calls": statistics.median(one.calls for one in found),
        "entered": statistics.median(one.entered for one in found),
        "moves": statistics.median(one.edges.total() for one in found),
        "edges": [[caller, callee, n] for (caller, callee), n in middle.edges.most_common()],
    }


def counted_in(tree: Path) -> dict[str, Any]:
    """As `count`, in a process that sees that tree."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--count", str(tree)],
        env={**environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"},
        cwd=tree,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise NotReached(f"{tree}: {done.stderr.strip() or done.stdout.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0, or 1 where a tree could not be counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hops", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, such as an earlier commit's")
    parser.add_argument("--edges", type=int, default=0, metavar="N", help="show the N most frequent moves of this tree")
    parser.add_argument("--count", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.count is not None:
        print(json.dumps(count(asked.count)))
        return 0
    trees = [Path(__file__).resolve().parent.parent, *([asked.against.resolve()] if asked.against is not None else [])]
    try:
        found = [counted_in(tree) for tree in trees]
    except NotReached as error:
        print(f"benchmarks.hops: {error}", file=sys.stderr)
        return 1
    print(f"{'manifest line to POST':<40}{''.join(f'{name:>10}' for name in FIELDS)}")
    for tree, one in zip(trees, found, strict=True):
        print(f"{str(tree)[-38:]:<40}{''.join(f'{one[name]:>10}' for name in FIELDS)}")
    if len(found) > 1:
        print(f"{'ratio':<40}{''.join(f'{found[0][name] / found[1][name]:>10.2f}' for name in FIELDS)}")
    for caller, callee, n in found[0]["edges"][: asked.edges]:
        print(f"{n:>6}  {caller} -> {callee}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
