"""The live view in a real terminal that folds lines as it becomes narrower: tmux, with the demo of the README."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


class Tmux:
    """A terminal of tmux with a server of its own."""

    def __init__(self, folder, columns, rows):
        self._socket = str(folder / "tmux")
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_STATE": str(folder / "state"), "CI": ""}
        command = f"{sys.executable} -m orchestrator run {ROOT / 'manifests/demo.yaml'} --sandbox; cat"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), command, cwd=folder, env=environ)

    def _tmux(self, *words, **more):
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words], check=True, capture_output=True, text=True, timeout=20, **more
        )
        return done.stdout

    def resize(self, columns, rows):
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def press(self, key):
        self._tmux("send-keys", key)

    def screen(self):
        return self._tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def until(self, text):
        """The screen, once this is on it."""
        for _ in range(300):
            found = self.screen()
            if any(text in line for line in found):
                return found
            time.sleep(0.1)
        raise AssertionError("\n".join(found))

    def close(self):
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path):
    found = Tmux(tmp_path, 120, 30)
    yield found
    found.close()


def test_one_picture_stands_there_whatever_size_the_terminal_takes(terminal):
    terminal.until("by owner")
    for columns, rows, sign in (
        (80, 24, "Ctrl-C"),
        (40, 24, "all done in about"),
        (200, 40, "by owner"),
        (60, 12, "in flight"),
    ):
        terminal.resize(columns, rows)
        for _ in range(50):  # until it was drawn anew
            found = [line for line in terminal.screen() if line]
            bars = [line for line in found if line.strip("\u2501\u254c\u2500") == ""]
            if len(bars) == 1 and len(bars[0]) == columns and any(sign in line for line in found):
                break
            time.sleep(0.1)
        assert len(bars[0]) == columns
        assert sum(line.startswith("demo ") for line in found) == 1
        assert any(sign in line for line in found)
        assert len(found) <= rows


def test_ctrl_c_takes_the_picture_away_and_leaves_the_report(terminal):
    terminal.until("triggering")
    terminal.press("C-c")
    found = terminal.until("interrupted")
    assert not any("Ctrl-C stops" in line or "by owner" in line for line in found)
