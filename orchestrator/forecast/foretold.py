"""What is expected of a run that goes on, target by target, for a chart that shows it behind what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.core.history import History
from orchestrator.forecast.durations import Times
from orchestrator.forecast.relearnt import relearnt
from orchestrator.forecast.remaining import standing
from orchestrator.providers.port import Declaration


def foretold(
    history: History, declarations: Mapping[str, Declaration], now: float, times: Times
) -> Sequence[tuple[float, float]]:
    """Of each open target that comes to an end, when it is triggered (at the latest now) and when its build ends.

    Args:
        history: of a run that was made, with all its targets.
        declarations: by type of provider.
        now: wall clock, as what comes back.
        times: how long calls and builds took before this run, whose own builds then tell more.
    """
    run = standing(history, declarations, now, relearnt(times, history, now).times)
    run.run()
    pairs = zip(run.asked, run.ended, strict=True)
    return [(now + max(0.0, asked), now + ended) for asked, ended in pairs if ended >= 0.0]
