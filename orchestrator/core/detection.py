"""How long after its end a build, or a rejected request, was known to have ended: what following it costs in time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import Outcome

LONGEST = 1e9  # seconds


class Detection(Struct, frozen=True):
    """Seconds from the ends of builds to our knowing of them, both by our clock; a service may tell whole seconds.

    No service tells when it rejected a request that it had taken: such a one counts from its receipt.
    """

    median: float
    p90: float
    max: float


def detection_of(history: History) -> Detection | None:
    """The figures of a run; None where nothing that it had asked for was seen to end."""
    delays = sorted(_delays(history))
    return None if not delays else Detection(_at(delays, 0.5), _at(delays, 0.9), _at(delays, 1.0))


def _delays(history: History) -> Iterator[float]:
    for progress in history.progress.values():
        build, verdict, end = progress.build, progress.verdict, None
        if build is not None and build.state.is_final:
            end = build.finished_at
        elif verdict is not None and verdict.outcome is Outcome.REJECTED:
            end = progress.requested_at
        if verdict is not None and end is not None:
            delay = verdict.at - end
            if -LONGEST < delay < LONGEST:  # a damaged time costs only itself
                yield max(0.0, delay)


def _at(delays: Sequence[float], share: float) -> float:
    """The least of them that is not exceeded by this share."""
    return round(delays[max(0, math.ceil(share * len(delays)) - 1)], 1)
