"""What may befall the runs of a schedule beyond the death of a process, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Outcome

if TYPE_CHECKING:
    from .schedule import Fate, Job


class Disaster(Struct, frozen=True):
    """The machine is gone with its state, and the runs go on elsewhere.

    Args:
        at: when all its processes die.
        copied: when the copy of the state was made that is left; None: none is, so the runs are made anew to adopt.
        clock: by how many seconds the next machine's clock is off.
    """

    at: float
    copied: float | None
    clock: float


class PutBack(Struct, frozen=True):
    """The state's file is put back to what it was at an earlier instant, on the same machine: a restored snapshot.

    Args:
        copied: when the copy was made, and `at`, when it is put back.
        is_live: whether processes are at work under it and go on; else they die before.
    """

    copied: float
    at: float
    is_live: bool


class Outage(Struct, frozen=True):
    """For a while the service answers nothing that it handled, or nothing at all.

    Args:
        kind: of the fault: `error_before`, at once with a 5xx, or `timeout_before`, silence.
        methods: of the calls that it hits; empty: all.
    """

    at: float
    seconds: float
    kind: str
    methods: tuple[str, ...]


class Mixed(Struct, frozen=True):
    """Triggers are handled, but answered with the receipt of another trigger of the account.

    Args:
        share: how many of them, while the service is not calm.
    """

    share: float
    until: float


class Again(Struct, frozen=True):
    """`retry` of the first run, once that is over.

    Args:
        outcomes: as `--outcome` says; None: what did not pass.
        pause: seconds in between.
    """

    outcomes: frozenset[Outcome] | None
    same_commit: bool
    pause: float
    fates: tuple[Fate, ...]


class Words(Struct, frozen=True):
    """A person who says what became of targets in doubt.

    Args:
        right: how often the person is right.
        is_early: whether each resume is told, or only one after the end.
        pause: seconds that the person thinks.
        fate: of the first process that is told after the end.
    """

    right: float
    is_early: bool
    pause: float
    fate: Fate


class Overlap(Struct, frozen=True):
    """Another run that wants targets of the first one.

    Args:
        rule: as `--overlap` says.
    """

    rule: str
    job: Job


class Twist(Struct, frozen=True):
    """What befalls a schedule.

    Args:
        reboots: when the machine boots anew, under the same state.
        stalls: pairs of when the service stops handling calls and for how long; then it handles all of them at once.
        steps: pairs of when the service's clock steps and by how much, either way.
    """

    disaster: Disaster | None = None
    again: Again | None = None
    words: Words | None = None
    overlap: Overlap | None = None
    reboots: tuple[float, ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    steps: tuple[tuple[float, float], ...] = ()
    put_back: PutBack | None = None
    outage: Outage | None = None
    mixed: Mixed | None = None


PLAIN = Twist()
