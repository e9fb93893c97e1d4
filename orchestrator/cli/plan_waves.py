"""The waves of a plan, for people and for programs: how large each is, what opens it, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.app.plan import Planned
from orchestrator.core.frozen import to_json
from orchestrator.core.model import Plan
from orchestrator.core.times import counted, period, rounded
from orchestrator.core.waves import SHUFFLE, Wave
from orchestrator.forecast import Forecast
from orchestrator.report.words import plain

NAMED = 5  # targets that were drawn forward, by wave


def wave_lines(planned: Planned, cast: Forecast) -> Iterator[str]:
    """The waves, a line each; nothing where there is one, without a rollout."""
    plan = planned.plan
    if plan.rollout is None or not plan.waves:
        return
    yield "waves:"
    for wave in plan.waves:
        name = "" if wave.is_unnamed else f" {plain(wave.name)}"
        yield f"  {wave.number}{name}: {counted(wave.targets, 'target')}, {_opening(plan, wave)}{_when(wave, cast)}"
        yield from _drawn(planned, wave)
        for block in planned.blocks.get(wave.number, ()):
            yield f"    {block.stop_at:,} bad of the first {block.targets:,} stop it: worse than usual"
    if plan.rollout.order == SHUFFLE:
        yield "  the order is shuffled by the run's id, which the run gets when it is made"


def _opening(plan: Plan, wave: Wave) -> str:
    """What opens a wave, in words."""
    if wave.number == 1:
        return "at once"
    before = plan.waves[wave.number - 2]
    soak = f" and a soak of {period(before.soak)}" if before.soak else ""
    approval = ", and once a person approves it" if before.approve else ""
    return f"after the verdict on wave {plain(before.name)}{soak}{approval}"


def _when(wave: Wave, cast: Forecast) -> str:
    found = cast.waves.get(wave.number)
    if found is None:
        return ""
    opened = f"; opens after about {rounded(found.opened)}," if wave.number > 1 else ";"
    return f"{opened} takes about {rounded(found.judged - found.opened)}"


def _drawn(planned: Planned, wave: Wave) -> Iterator[str]:
    drawn = set(planned.drawn)
    ids = [target.id for target in planned.plan.targets if target.wave == wave.number and target.id in drawn]
    if ids:
        more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
        yield f"    drawn forward, since targets of this wave need them: {plain(', '.join(ids[:NAMED]))}{more}"


def waves_json(planned: Planned, cast: Forecast) -> Sequence[dict[str, Any]]:
    """The waves; times in seconds from the start of the run, `opens` in the words `verdict`, `soak 30m`, `approval`."""
    drawn = set(planned.drawn)
    return [
        {
            "wave": wave.number,
            "name": wave.name,
            "targets": wave.targets,
            "opens": _opens(planned.plan, wave),
            **_times(cast, wave),
            "blocks": [to_json(block) for block in planned.blocks.get(wave.number, ())],
            "drawn": [one.id for one in planned.plan.targets if one.wave == wave.number and one.id in drawn],
        }
        for wave in planned.plan.waves
    ]


def _opens(plan: Plan, wave: Wave) -> str:
    if wave.number == 1:
        return "at once"
    before = plan.waves[wave.number - 2]
    soak = [f"soak {period(before.soak)}"] if before.soak else []
    return ", ".join(["verdict", *soak, *(["approval"] if before.approve else [])])


def _times(cast: Forecast, wave: Wave) -> dict[str, float | None]:
    found = cast.waves.get(wave.number)
    if found is None:
        return {"opens_after_seconds": None, "expected_seconds": None}
    return {
        "opens_after_seconds": round(found.opened, 3),
        "expected_seconds": round(found.judged - found.opened, 3),
    }
