"""A fault as a patch, a copy of the tree to put it into, and whether the tests there notice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("orchestrator", "tests", "pyproject.toml")
LONGEST = 12  # seconds of a processor for the tests of one fault, however busy the machine is
LONGEST_GREEN = 120  # for all of them, without a fault
PATIENCE = 5  # times as long by the clock
PYTEST = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv.pop(1)),) * 2);"
    "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
)


class Stale(Exception):
    """The code has changed: the patch no longer says where the fault goes."""


@dataclass(frozen=True)
class Edit:
    """One place of a patch.

    Args:
        file: below the root.
        old: what stands there, exactly once.
        new: what the fault makes of it.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Plant:
    """A fault, and who must notice it.

    Args:
        name: what goes wrong, in a few words.
        tests: files below `tests`; `only` chooses among their tests, as `pytest -k` does.
    """

    name: str
    edits: Sequence[Edit]
    tests: Sequence[str]
    only: str = ""


@dataclass(frozen=True)
class Ended:
    """How the tests of a plant ended; a plant is as it should be when its tests fail, and for nothing else."""

    is_red: bool
    seconds: float
    why: str = ""


class Copy:
    """A copy of the tree in a folder of its own, in which faults come and go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changes = 0
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
            else:
                shutil.copy2(source, folder / name)

    def check(self, plant: Plant) -> Ended:
        """Plants a fault, runs the tests that must notice it, and takes it out again.

        Raises:
            Stale: the patch does not fit.
        """
        files = {edit.file: (self._folder / edit.file).read_text(encoding="utf-8") for edit in plant.edits}
        planted = dict(files)
        for edit in plant.edits:
            found = planted[edit.file].count(edit.old)
            if found != 1:
                raise Stale(f"{edit.file} has {found} times:\n{edit.old}")
            planted[edit.file] = planted[edit.file].replace(edit.old, edit.new)
        for name, text in planted.items():
            try:
                compile(text, name, "exec")
            except SyntaxError as error:  # no fault that anybody would make
                raise Stale(f"{name} is no Python any more: {error}") from None
        try:
            self._write(planted)
            return self.run(plant.tests, plant.only, LONGEST)
        finally:
            self._write(files)

    def run(self, tests: Sequence[str], only: str = "", longest: int = LONGEST_GREEN) -> Ended:
        """Runs tests on the copy as it is now."""
        words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=line"]
        words += ["-k", only] if only else []
        words += [f"tests/{test}" for test in tests]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-c", PYTEST, str(longest), *words],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(self._folder), "PYTHONHASHSEED": "0"},
                check=False,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE * longest,
            )
        except subprocess.TimeoutExpired:
            return Ended(False, PATIENCE * longest, "its tests hang")
        seconds = time.monotonic() - began
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return Ended(False, seconds, f"its tests take more than {longest} s")
        output = f"{done.stdout}{done.stderr}".strip()
        if done.returncode == 0:
            return Ended(False, seconds)
        if "\nFAILED " not in output or "\nERROR " in output:
            return Ended(False, seconds, f"its tests could not be run:\n{output[-2000:]}")
        return Ended(True, seconds, output)

    def _write(self, texts: dict[str, str]) -> None:
        """Each text has a time of its own, so that no compiled file of an earlier one is taken for it."""
        for name, text in texts.items():
            path, self._changes = self._folder / name, self._changes + 1
            path.write_text(text, encoding="utf-8")
            at = time.time() - 86_400.0 + self._changes * 2.0
            os.utime(path, (at, at))
