"""Golden screens: runs in each state at four widths, as a terminal of 24 or 40 rows shows them.

After a wanted change run `python tests/test_live_pictures.py`, and look at each screen before you commit it.
"""

import re
import sys
from pathlib import Path

import pyte
import pytest
from live_states import STATES

from orchestrator.cli.live import Redrawn

GOLDEN = Path(__file__).parent / "golden" / "live"
SIZES = ((40, 24), (80, 24), (120, 36), (200, 50))
CASES = [(state, size) for state in STATES for size in SIZES]


class Stream:
    """A terminal in memory."""

    encoding = "utf-8"

    def __init__(self, columns, rows):
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self.written = ""

    def write(self, text):
        self.written += text
        self._stream.feed(text.replace("\n", "\r\n"))  # as the terminal's driver does

    def flush(self):
        pass

    @property
    def size(self):
        return self.screen.columns, self.screen.lines

    @property
    def rows(self):
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.rows).rstrip() + "\n"


def shown(snapshot, size, *, colour=True):
    stream = Stream(*size)
    Redrawn(stream, colour=colour, size=lambda: size).show(snapshot, snapshot.at)
    return stream


def place(state, size):
    return GOLDEN / f"{state}-{size[0]}.txt"


@pytest.fixture(scope="module")
def snapshots():
    found = {}

    def of(state):
        if state not in found:
            found[state] = STATES[state]()
        return found[state]

    return of


@pytest.mark.parametrize(("state", "size"), CASES, ids=lambda one: one if isinstance(one, str) else str(one[0]))
def test_a_screen_is_as_it_was(state, size, snapshots):
    assert shown(snapshots(state), size).text == place(state, size).read_text(encoding="utf-8")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("columns", [20, 39, 40, 59, 60, 79, 80, 99, 100, 131, 200])
def test_no_line_is_wider_than_the_terminal_and_no_picture_higher(state, columns, snapshots):
    for rows in (1, 2, 5, 8, 12, 24, 60):
        stream = shown(snapshots(state), (columns, rows), colour=False)
        lines = stream.written.replace("\r", "").replace("\x1b[2K", "").split("\n")
        assert len(lines) <= rows
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("state", STATES)
def test_without_colour_nothing_sets_one_and_the_bar_is_of_letters(state, snapshots):
    stream = shown(snapshots(state), (80, 24), colour=False)
    assert not re.search(r"\x1b\[[0-9;]*m", stream.written)
    bar = stream.rows[1]
    assert (bar[0], bar[-1], len(bar)) == ("[", "]", 80)
    assert set(bar[1:-1]) <= set("?x!o/-^.=rq ")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for state, size in CASES:
        screen = shown(STATES[state](), size).text
        place(state, size).write_text(screen, encoding="utf-8")
        sys.stdout.write(f"{state} {size}\n{screen}\n")
