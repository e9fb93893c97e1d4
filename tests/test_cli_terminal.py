"""A person at a terminal, played through a pseudo-terminal: questions, and how they are left."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_machine import ENVIRON, Program
from test_cli_state import P, tell


@pytest.fixture
def place(tmp_path, capsys):
    program = Program(tmp_path, capsys)
    tell(program, "one", P, None, None, ends=False)
    return tmp_path


class Terminal:
    """The program at a terminal of its own."""

    def __init__(self, folder, *words):
        self.screen, inner = pty.openpty()
        environ = {**ENVIRON, "HOME": str(folder), "CI": "", "TERM": "xterm"}
        command = [sys.executable, "-m", "orchestrator", *words]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.shown = ""

    def until(self, text):
        """Reads until this is on the screen, or the program has ended."""
        while text not in self.shown:
            assert select.select([self.screen], [], [], 20)[0], self.shown
            try:
                data = os.read(self.screen, 4096)
            except OSError:  # the program has ended
                break
            self.shown += data.decode()
        return self.shown

    def until_it_waits(self):
        """Returns when the program does nothing but wait for what is typed."""
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            os.sched_yield()

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(place):
    made = []

    def start(*words):
        made.append(Terminal(place, *words))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize("words", [("cancel", "one"), ("runs", "--prune", "1s")], ids=" ".join)
def test_one_ctrl_c_at_a_question_leaves_with_130(words, terminal, place, capsys):
    tell(Program(place, capsys), "old", P, P, P)
    asked = terminal(*words, "--state", "s")
    assert "[y/N]" in asked.until("[y/N]")
    asked.until_it_waits()
    asked.process.send_signal(signal.SIGINT)
    asked.until("a text that never comes")
    assert asked.process.wait(20) == 130
    assert "Traceback" not in asked.shown


def test_a_no_at_the_question_forgets_nothing(terminal, place, capsys):
    tell(Program(place, capsys), "old", P, P, P)
    asked = terminal("runs", "--prune", "1s", "--state", "s")
    assert "old" in asked.until("Forget 1 run? [y/N]")
    os.write(asked.screen, b"n\n")
    assert "answered no; nothing was forgotten" in asked.until("nothing was forgotten")
    assert asked.process.wait(20) == 6
