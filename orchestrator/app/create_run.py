"""Makes a run in the journal: its id, its first event, and what happens when another open run holds a target."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.core.errors import NotStarted
from orchestrator.core.events import RunMade, to_json
from orchestrator.core.frozen import replace
from orchestrator.core.model import Json, Plan, Target
from orchestrator.journal.port import Journal, Overlap

FORBID, ALLOW, SKIP, REPLACE = "forbid", "allow", "skip", "replace"
OVERLAPS = (FORBID, ALLOW, SKIP, REPLACE)
NAMED = 10
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that looks like another


def new_id(now: float) -> str:
    """An id that sorts by time and is unique: `20260105T010000Z-k3f9`."""
    at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{at}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"


def made_of(
    plan: Plan, options: Mapping[str, Json], parent: str | None = None, forecast: Mapping[str, Json] | None = None
) -> RunMade:
    """The first event of a run of this plan; it holds all that a resume needs but the targets.

    Args:
        forecast: how long it is to take, for the report to compare with what happens.
    """
    return RunMade(
        name=plan.name,
        manifest=plan.manifest,
        digest=plan.digest,
        params=plan.params,
        accounts={name: to_json(account) for name, account in plan.accounts.items()},
        limits={name: [str(limit) for limit in account.limits] for name, account in plan.accounts.items()},
        parent=parent,
        options=options,
        forecast=forecast or {},
    )


async def make_run(
    run: str,
    made: RunMade,
    targets: Sequence[Target],
    journal: Journal,
    now: float,
    overlap: str = FORBID,
    behind: str = "",
) -> Sequence[Target]:
    """Makes the run.

    Args:
        overlap: `forbid` refuses to start, `allow` does not mind, `skip` leaves out what another open run holds.
        behind: goes behind each command line that is advised, such as ` --state DIR`.

    Returns:
        The targets that it really has.

    Raises:
        NotStarted: other open runs hold targets.
        JournalError: there is a run of this id.
    """
    found = await journal.make_run(run, made, targets, now, forbid_overlap=overlap != ALLOW)
    if not found or overlap == ALLOW:
        return targets
    if overlap != SKIP:
        driven = any(row.driven for row in await journal.runs(found[0].run) if row.id == found[0].run)
        raise NotStarted(_refusal(found, driven, behind))
    rest = without(targets, {one.target for one in found})
    if not rest:
        raise NotStarted(f"--overlap skip: other open runs hold every target:\n{_listed(found)}")
    return await make_run(run, made, rest, journal, now, overlap, behind)


def without(targets: Sequence[Target], held: set[str]) -> Sequence[Target]:
    """The other targets; what needs one that was left out no longer waits for it."""
    return [
        replace(target, needs=tuple(need for need in target.needs if need not in held))
        for target in targets
        if target.id not in held
    ]


def _refusal(overlaps: Sequence[Overlap], driven: bool, behind: str) -> str:
    """What to do; a run that a process is at work on can only be waited for."""
    first = f"{overlaps[0].run}{behind}"
    finish = f"wait for it (orchestrator watch {first})" if driven else f"finish it (orchestrator resume {first})"
    return (
        f"{len(overlaps):,} of these targets belong to a run that is still open:\n{_listed(overlaps)}\n"
        f"{finish} or end it (orchestrator cancel {first}); "
        "or start all the same with --overlap allow, skip (leave those out) or replace (cancel the other run first)"
    )


def _listed(overlaps: Sequence[Overlap]) -> str:
    lines = [f"  {one.target}  in {one.run}" for one in overlaps[:NAMED]]
    return "\n".join(lines + [f"  ... and {len(overlaps) - NAMED:,} more"] * (len(overlaps) > NAMED))
