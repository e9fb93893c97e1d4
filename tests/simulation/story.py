"""Tells a play as a story: what was drawn, who did what when, and what the service has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.core.events import encode

from .play import Play

TOLD = ("latency", "lag", "skew", "process", "queue", "build", "hourly", "reorder", "version", "graphql", "collapse")


def tell(result: Play) -> str:
    """The whole story."""
    lines = [*_drawn(result), *(line for _, line in sorted(_happened(result), key=lambda one: one[0])), *_end(result)]
    return "\n".join(lines)


def _drawn(result: Play) -> Iterator[str]:
    schedule = result.schedule
    yield f"seed {schedule.seed}"
    for name in schedule.__struct_fields__:
        if name not in ("seed", "settings", "jobs", "sites"):
            yield f"  {name}: {getattr(schedule, name)}"
    for site in schedule.sites:
        yield f"  account {site.name} on {site.world}: {', '.join(map(str, site.limits))} {dict(site.keys)}"
        told = ", ".join(f"{name} {getattr(site.settings, name)}" for name in TOLD if hasattr(site.settings, name))
        yield f"    {told}"
        yield f"    {site.settings.repos}"
    for job in result.jobs:
        yield f"  run {job.id}: starts {job.starts:.1f}, rival {job.rival}, cancel {job.cancel_at}"
        for target in job.targets:
            yield f"    {target.id} needs={target.needs} marked={target.marked} skip={target.skip} {target.reruns}"
        for fate in job.fates:
            yield f"    {fate}"


def _happened(result: Play) -> Iterator[tuple[float, str]]:
    for driving in result.machine.driven:
        name = driving.process.name
        yield driving.began, f"{driving.began:9.2f}  {name}  STARTS"
        for at, what, said in driving.facts:
            yield at, f"{at:9.2f}  {name}  {what} {said}"
    for said in result.said:
        yield -1.0, f"said: {said}"
    for written in [each for state in result.machine.states for each in state.written.values()]:
        for one in written:
            yield one.time, _line(one.time, one.process, one.entry.account, one.entry.event)
    rows = [row for world in result.worlds.values() for row in world.rows()]
    for sent in result.machine.network.log:
        reached = "never arrived" if sent.arrived is None else f"arrived {sent.arrived:.2f}, {sent.status}"
        made = [row.id for row in rows if row.order == sent.order and sent.order]
        got = f", request {made[0]}" if made else ""
        told = "" if sent.answered is None else f", told {sent.answered:.2f}"
        yield (
            sent.left,
            (
                f"{sent.left:9.2f}  {sent.process.name}  {sent.account} {sent.method} {sent.path} {sent.tag}: "
                f"{reached}{got}{told} {sent.fault}"
            ),
        )


def _line(time: float, process: str, account: str, event: Any) -> str:
    return f"{time:9.2f}  {process}  [{account or 'run'}] {event.kind} {getattr(event, 'target', '')} {encode(event)}"


def _end(result: Play) -> Iterator[str]:
    for driving in result.machine.driven:
        end = "killed" if driving.journal.is_dead else f"exit {driving.code!r} {driving.error or ''}"
        yield f"{driving.process.name}: {driving.process.steps} steps, {driving.journal.appends} appends, {end}"
    for world in result.worlds.values():
        for row in world.rows():
            yield f"{row}"
    for history in result.histories.values():
        for target in history.targets:
            yield f"{target.id}: {history.of(target.id).verdict}"
    if result.stuck:
        yield f"STUCK: {result.stuck}"
