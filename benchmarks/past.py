"""Journals of runs that happened: written straight into the state, as a run of that length would have left them."""

from __future__ import annotations

import time
from typing import Any

import anyio

from benchmarks import drive
from orchestrator.core.events import Ended, Event, Intended, Interrupted, Requested, RunEnded, Sighted, WaveOpened
from orchestrator.core.model import COORDINATOR, Account, Build, BuildState, Outcome, Target, marker_of
from orchestrator.journal.port import Journal, Lease
from orchestrator.journal.process import this_process

BATCH = 1_000  # events an append


def fill(folder: str, count: int, triggered: int, ended: int, port: int = 1) -> dict[str, Any]:
    """A state with one run, left by the process that drove it.

    Args:
        triggered: so many targets, the first ones, have a request and a running build.
        ended: of these, so many builds have passed.
        port: where its account is.
    """
    anyio.run(_fill, folder, count, triggered, ended, drive.account(port, 32, drive.COUNTED))
    return {}


async def _fill(folder: str, count: int, triggered: int, ended: int, to: Account) -> None:
    wanted, at = drive.targets(count), time.time() - 600.0
    async with drive.journal_in(folder, time.time) as journal:
        await drive.make(journal, wanted, to, at)
        by = journal.register(this_process(), 30.0)
        leases = await journal.claim(drive.RUN, [COORDINATOR, to.name], by, at)
        await journal.append(leases[0], [WaveOpened(1)], at)
        events = [one for n, target in enumerate(wanted[:triggered]) for one in _story(target, n, at, n < ended)]
        await _append(journal, leases[1], events, at)
        last: Event = RunEnded(0) if ended == count else Interrupted("SIGTERM", 143)
        await journal.append(leases[0], [last], at)
        await journal.release(leases)


async def _append(journal: Journal, lease: Lease, events: list[Event], at: float) -> None:
    for start in range(0, len(events), BATCH):
        await journal.append(lease, events[start : start + BATCH], at)


def _story(target: Target, number: int, at: float, has_ended: bool) -> list[Event]:
    """What is known of a target with a build."""
    url, sha, started = f"https://app.travis-ci.com/github/{target.repo}", f"{number:040x}", at + 60.0
    build = Build(str(5_000_000 + number), BuildState.RUNNING, "started", str(number), f"{url}/builds/{number}", sha)
    events: list[Event] = [
        Intended(target.id, 1, marker_of(drive.NAME, drive.RUN, target.id)),
        Requested(target.id, str(31_337 + number), "answered", {"v": 1, "repo": 4711 + number}, f"{url}/requests"),
        Sighted(target.id, build),
    ]
    if has_ended:
        passed = Build(build.id, BuildState.PASSED, "passed", build.number, build.url, sha, None, at, started, at + 360)
        events += [Sighted(target.id, passed), Ended(target.id, Outcome.PASSED, "passed", "build passed")]
    return events
