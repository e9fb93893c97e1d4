"""What was chosen for a run: kept with it (`RunOptions`), and for one process that drives it (`Options`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.core.frozen import DAMAGES, Struct, convert, field
from orchestrator.core.model import DEFAULT_FAIL_ON, Build, Causes, Json, Notify, Outcome, Request, unseen


class OldBuild(Struct, frozen=True, omit_defaults=True, gc=False):
    """What an earlier run started for a target, and a retry with `--same-commit` starts again.

    Args:
        seen: the build as that run saw it last; None in runs of older versions.
    """

    request: Request
    build: str
    seen: Build | None = None

    @property
    def as_seen(self) -> Build:
        """The build as it was last seen, as far as that is known."""
        return self.seen or unseen(self.build)


class RunOptions(Struct, frozen=True, omit_defaults=True, gc=False):
    """What was chosen when the run was made, so that a resume keeps to it.

    Args:
        fail_on: outcomes that make the exit code 1; None: the usual ones. As words, since a newer version has more.
        max_fail: `5` or `20%` of the targets: so many failures stop the triggering.
        in_flight: builds of this run that may be queued or running at once, for each account.
        reports: file to format of the reports that are written at the end.
        sandbox: it is a rehearsal: its service ended with its process.
        adopt: its state was lost: what an earlier process may have triggered is looked for before anything is.
        look_for: target id to the marker that an earlier run may have sent.
        look_since: from when on it may have been sent (wall clock).
        restart: target id to what is started again.
        causes: which logs of failed builds are read; None: none.
        selection: the flags that chose among the manifest's targets, as words.
        notify: who is told what of it.
    """

    fail_on: tuple[Json, ...] | None = None
    reports: Mapping[str, str] = field(default_factory=dict)
    in_flight: int | None = None
    max_fail: str | None = None
    sandbox: bool = False
    adopt: bool = False
    look_for: Mapping[str, str] = field(default_factory=dict)
    look_since: float | None = None
    restart: Mapping[str, OldBuild] = field(default_factory=dict)
    causes: Causes | None = None
    selection: tuple[str, ...] = ()
    notify: tuple[Notify, ...] = ()

    @property
    def failures(self) -> frozenset[Outcome]:
        """The outcomes that make the exit code 1."""
        return DEFAULT_FAIL_ON if self.fail_on is None else frozenset(Outcome).intersection(self.fail_on)


class Pace(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a process that took up a run was told to keep to, in place of what the run was made with.

    Args:
        in_flight: builds of the run that may be queued or running; None: as the run was made.
        rates: limits on triggers by account; under the empty name: of all.
        ignore_quiet_hours: it triggers in quiet hours, too.
    """

    in_flight: int | None = None
    rates: Mapping[str, str] = field(default_factory=dict)
    ignore_quiet_hours: bool = False


class Options(RunOptions, frozen=True, omit_defaults=True, kw_only=True):
    """How a process drives a run; rules, engine and forecast ask it.

    Args:
        trigger: False follows only.
        looks_on: leaves the run to whoever wants to drive it (`watch`).
        detach: return when nothing is left to trigger.
        timeout: seconds after which this process leaves.
        override_stop: go on although a rule stopped the run before.
        assume_absent: ids of targets in doubt of which a person says that no build exists.
        adopt_request: target id to the provider's request id, as a person says.
        ignore_quiet_hours: trigger in quiet hours too.
        rates: limits on triggers that the accounts have here, as of `Pace`.
        metrics_file: where this process writes how the run goes on, for a monitoring system.
        drives: ids of the targets that this process cares for; the others stay as they are. None: all.
    """

    trigger: bool = True
    looks_on: bool = False
    detach: bool = False
    timeout: float | None = None
    override_stop: bool = False
    assume_absent: frozenset[str] = frozenset()
    adopt_request: Mapping[str, str] = field(default_factory=dict)
    ignore_quiet_hours: bool = False
    rates: Mapping[str, str] = field(default_factory=dict)
    drives: frozenset[str] | None = None
    metrics_file: str | None = None

    def pace(self, kept: RunOptions) -> Pace:
        """What differs from what the run was made with, and holds back its triggers."""
        in_flight = None if self.in_flight == kept.in_flight else self.in_flight
        return Pace(in_flight, self.rates, self.ignore_quiet_hours)

    @classmethod
    def over(cls, kept: RunOptions, given: Options | None = None, **more: Any) -> Options:
        """Those that a run was made with, except where something else is given; `more` wins."""
        given = given or cls()
        values = {name: getattr(given, name) for name in Options.__struct_fields__}
        for name in RunOptions.__struct_fields__:
            if values[name] == getattr(_NOTHING_CHOSEN, name):
                values[name] = getattr(kept, name)
        return Options(**{**values, **more})


_NOTHING_CHOSEN = RunOptions()


def usable(options: Mapping[str, Json]) -> Mapping[str, Json]:
    """What of options in a journal this version can use; all of those without which a target might start twice."""
    return {name: value for name, value in options.items() if name in ("look_for", "restart") or _is_read(name, value)}


def _is_read(name: str, value: Json) -> bool:
    try:
        convert({name: value}, RunOptions)
    except DAMAGES:
        return False
    return True
