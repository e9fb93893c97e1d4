"""The whole program by its command line, in this process, on a machine of the test's own."""

import json
import os
import time
from pathlib import Path

import orchestrator
from orchestrator.app.context import Context
from orchestrator.cli.main import Machine, run
from orchestrator.core.secrets import Redactor

# Other processes find the package that is tested, installed or not, in whatever folder they start.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(orchestrator.__file__).parents[1])}
ENVIRON.pop("COLUMNS", None)  # else lines are as wide as some terminal that started the tests


def context_of(**more):
    """A context that sees nothing of this computer."""
    return Context(**{"environ": {}, "cwd": Path("/nowhere"), "home": Path("/nowhere"), **more})


class Program:
    """Runs command lines in a folder of their own, and keeps what they printed."""

    def __init__(self, folder: Path, capsys, **environ):
        self.folder = folder
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        self.now = time.time
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words):
        machine = Machine(self.environ, self.folder, self.folder, self.now, Redactor())
        self._capsys.readouterr()
        code = run([str(word) for word in words], machine)
        self.out, self.err = self._capsys.readouterr()
        return code

    def write(self, name, text):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    @property
    def json(self):
        return json.loads(self.out)
