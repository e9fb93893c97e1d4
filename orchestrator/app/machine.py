"""What of this computer the verbs may see: handed in by `cli`, so that tests hand in another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.core.frozen import Struct
from orchestrator.core.redact import Redactor


class Machine(Struct, frozen=True):
    """Environment, places and clock.

    Args:
        now: wall clock, seconds since the epoch.
        redactor: knows the secrets that were resolved; everything shown goes through it.
    """

    environ: Mapping[str, str]
    cwd: Path
    home: Path
    now: Callable[[], float]
    redactor: Redactor
    pid: int = 0

    @property
    def is_ci(self) -> bool:
        """Whether this is a CI job, where nobody answers questions and nothing may be redrawn."""
        return self.environ.get("CI", "").lower() not in ("", "0", "false", "no")

    @property
    def may_ask(self) -> bool:
        """Whether there is a person at a terminal."""
        return not self.is_ci and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def may_redraw(self) -> bool:
        """Whether stderr is a terminal that can move its cursor."""
        return not self.is_ci and sys.stderr.isatty() and self.environ.get("TERM", "") not in ("", "dumb")

    def colours(self, stream: object, no_color: bool) -> bool:
        """Whether a stream may be coloured."""
        is_terminal = bool(getattr(stream, "isatty", lambda: False)())
        return is_terminal and not no_color and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"

    @property
    def state_home(self) -> Path:
        """Where the state is by default: one for a user, whatever the directory."""
        base = self.environ.get("XDG_STATE_HOME", "")
        # The XDG rule: a relative path there is to be ignored.
        return (Path(base) if Path(base).is_absolute() else self.home / ".local" / "state") / "orchestrator"
