"""Faults that once stayed green are planted in a copy of the tree: each must be noticed."""

import subprocess
import sys

import pytest
from planted.plant import ROOT, Copy, Edit, Plant, Stale

pytestmark = pytest.mark.slow

LINE = "__version__ ="
WHOLE = """
import orchestrator

def test_that_nothing_is_broken():
    assert "broken" not in vars(orchestrator)
"""


def test_each_planted_fault_is_noticed():
    done = subprocess.run(
        [sys.executable, "-m", "tests.planted"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=900.0
    )
    assert done.returncode == 0, done.stdout + done.stderr


def plant(new, old=LINE, test="test_whole.py"):
    return Plant("a fault", (Edit("orchestrator/__init__.py", old, new),), (test,))


def test_a_plant_is_noticed_by_a_test_that_fails_and_by_nothing_else(tmp_path):
    copy = Copy(tmp_path)
    (tmp_path / "tests" / "test_whole.py").write_text(WHOLE)
    assert copy.check(plant(f"broken = {LINE}")).is_red
    assert not copy.check(plant(f"unheard_of = {LINE}")).is_red  # the one before has gone
    for told in (plant(f"broken = {LINE}", test="test_no_such.py"), plant(f"raise ValueError\n{LINE}")):
        ended = copy.check(told)
        assert (ended.is_red, ended.why[:26]) == (False, "its tests could not be run")
    with pytest.raises(Stale, match="has 0 times"):
        copy.check(plant("", old="no such line"))
    with pytest.raises(Stale, match="is no Python"):
        copy.check(plant(f"{LINE} ("))
