"""How long a verb takes that does next to nothing, as multiples of Python doing nothing.

An installer compiles what it installs, so compiled files are kept here too, wherever the environment says otherwise,
and one call of each verb makes them before any is measured.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.table import Asked, Goal, Row

SMALL = "version: 1\nname: small\ntargets: [acme/widget, acme/gadget@main]\n"
AS_SCRIPT = "from orchestrator.__main__ import main; main()"  # what the installed command does

VERBS: tuple[tuple[str, tuple[str, ...], Goal | None], ...] = (
    ("--version", ("--version",), ("at most", 4.0)),
    ("--help", ("--help",), None),
    ("check of a small file", ("check", "small.yaml"), ("at most", 10.0)),
    (
        "run of one target in the sandbox",
        ("run", "--sandbox", "--repo", "acme/widget", "--detach", "-q", "--overlap", "allow"),
        None,
    ),
)


def rows(asked: Asked) -> Iterator[Row]:
    """The figures."""
    times = 3 if asked.quick else 21
    with tempfile.TemporaryDirectory(prefix="benchmark-startup-") as name:
        folder = Path(name)
        (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
        for what, words, goal in VERBS:
            _seconds(("-c", AS_SCRIPT, *words), folder)
            # in turns, so that both see the same noise
            pairs = [
                (_seconds(("-c", "pass"), folder), _seconds(("-c", AS_SCRIPT, *words), folder)) for _ in range(times)
            ]
            ratio = statistics.median(ours for _, ours in pairs) / statistics.median(nothing for nothing, _ in pairs)
            aside = " against ".join(f"{1000 * statistics.median(p[which] for p in pairs):.0f} ms" for which in (1, 0))
            yield Row(what, ratio, "x", "python -c pass", goal, aside)


def _seconds(words: Sequence[str], folder: Path) -> float:
    env = {**os.environ, **compiled(folder), "PYTHONPATH": str(ROOT), "ORCHESTRATOR_STATE": str(folder / "state")}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    return time.monotonic() - began


def compiled(folder: Path) -> dict[str, str]:
    """Variables for Python that keep compiled files in the folder."""
    return {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
