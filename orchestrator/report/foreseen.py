"""What was forecast beside what happened."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.frozen import Struct
from orchestrator.core.history import History
from orchestrator.core.model import Json


class ForecastView(Struct, frozen=True):
    """Seconds from the making of the run.

    Args:
        last_trigger_seconds: when the last trigger was to leave.
        last_build_seconds: when the last build was to be seen to have ended.
        actual_last_trigger_seconds: when it left; None while one is still to leave, or none did.
        actual_last_build_seconds: when the last verdict on a build was given; None while a target is open, or where
            there was no build.
    """

    last_trigger_seconds: float
    last_build_seconds: float
    actual_last_trigger_seconds: float | None
    actual_last_build_seconds: float | None


def foreseen(history: History) -> ForecastView | None:
    """The comparison; None where the run began without a forecast."""
    said = {} if history.made is None else history.made.forecast
    trigger, build = _seconds(said, "last_trigger_seconds"), _seconds(said, "last_build_seconds")
    if trigger is None or build is None:
        return None
    told = [history.of(target.id) for target in history.targets]
    is_asked = all(one.is_done or one.may_exist for one in told)
    asked = max((one.triggered_at or one.asked_at or 0.0 for one in told if one.may_exist), default=0.0)
    ended = max((one.verdict.at for one in told if one.verdict is not None and one.build is not None), default=0.0)
    is_done = all(one.is_done for one in told)
    return ForecastView(
        trigger,
        build,
        _since(history, asked) if is_asked else None,
        _since(history, ended) if is_done else None,
    )


def _since(history: History, at: float) -> float | None:
    return round(max(0.0, at - history.made_at), 1) if at else None


def _seconds(said: Mapping[str, Json], name: str) -> float | None:
    """A number of the journal's, if it is one."""
    value = said.get(name)
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12 else None
    )
