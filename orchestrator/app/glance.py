"""Runs at a glance, for a list; and one target over the runs: how it fared of late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.app.context import Context, readable
from orchestrator.app.runs import canceled_by, the_one, waiting
from orchestrator.core.errors import JournalError, UsageError
from orchestrator.core.evidence import KNOWN
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Target
from orchestrator.core.times import clock
from orchestrator.journal.history import load, made_in
from orchestrator.journal.outcomes import identity
from orchestrator.journal.port import Journal, RunRow
from orchestrator.report.states import Verdict
from orchestrator.report.verdict import verdict
from orchestrator.report.view import Row, view

COUNTED = 30_000  # targets, in all, of the newest runs that are counted: about a second
READ = 60  # runs, the newest that have the target, that are read


class Glance(Struct, frozen=True):
    """One run.

    Args:
        finished_at: when it ended, or its last process left (RFC 3339); None while it goes on, or was not read.
        totals: as of the report; None where the run was not read.
        verdict: on it; None where it was not read.
        canceled_by: who had it canceled; None where nobody did.
        waits: what holds it, as a sentence; None where nothing does.
    """

    row: RunRow
    finished_at: str | None = None
    totals: Mapping[str, int] | None = None
    verdict: Verdict | None = None
    canceled_by: str | None = None
    waits: str | None = None


async def glances(rows: Sequence[RunRow], journal: Journal, now: float) -> list[Glance]:
    """These runs, the newest first; of a state that holds much only the newest are read."""
    cancelers, holds = await canceled_by(rows, journal), await waiting(rows, journal, now)
    found: list[Glance] = []
    left = COUNTED
    for number, row in enumerate(rows):
        left -= row.targets
        glance = Glance(row, clock(row.ended_at) or None, None, None, cancelers.get(row.id), holds.get(row.id))
        found.append(await _read(glance, journal, now) if left >= 0 or not number else glance)
    return found


async def _read(glance: Glance, journal: Journal, now: float) -> Glance:
    try:
        report = view(glance.row.id, await load(journal, glance.row.id), now)
    except JournalError:  # a newer version wrote it, or it is damaged; its report says which, and others are listed
        return glance
    told = verdict(report, is_driven=glance.row.driven)
    return Glance(glance.row, report.run.finished_at, report.totals, told, glance.canceled_by, glance.waits)


# -- one target ---------------------------------------------------------------------------------------------------


class Fared(Struct, frozen=True):
    """How a target fared in one run.

    Args:
        at: when it ended (RFC 3339); None while it is open.
        run: the run's id.
        name: the run's name; empty where the run was forgotten.
        outcome: None while it is open; then `phase` says how far it is.
        seconds: how long its build ran; None where that is not known.
    """

    at: str | None
    run: str
    name: str
    outcome: str | None
    phase: str
    code: str | None = None
    reason: str | None = None
    seconds: int | None = None
    url: str | None = None


class Course(Struct, frozen=True):
    """One target over the runs of a state, the newest first."""

    target: str
    fared: Sequence[Fared]


async def course(context: Context, name: str) -> Course:
    """How a target fared in the last runs that had it, those that were forgotten included.

    Args:
        name: its id, repo@branch or repo; the newest run that knows such a target decides which is meant.

    Raises:
        UsageError: no run has it, or the name fits several.
    """
    async with readable(context) as journal:
        having = await journal.having(name)
        target, known, found = "", "", list[Fared]()
        for run, title in having[:READ]:
            accounts = accounts_in(await made_in(journal, run))
            targets = [one for one in await journal.targets(run) if one.account in accounts]
            if not known:
                mine = the_one(targets, name, run)
                target, known = mine.id, identity(mine, accounts[mine.account])
            else:
                alike = (one for one in targets if identity(one, accounts[one.account]) == known)
                if (twin := next(alike, None)) is None:
                    continue
                mine = twin
            found.append(await _fared(journal, run, title, mine, context.now()))
            if sum(one.outcome is not None for one in found) == KNOWN:
                break
        if not known:
            raise UsageError(f"no run in this state has a target {name!r}; `orchestrator runs` lists the runs")
        forgotten = (await journal.outcomes([known])).get(known, ())
    runs = {one.run for one in found}
    found += [Fared(clock(one.at), one.run, "", one.outcome, "done") for one in forgotten if one.run not in runs]
    return Course(target, found[: KNOWN + sum(one.outcome is None for one in found)])


async def _fared(journal: Journal, run: str, title: str, target: Target, now: float) -> Fared:
    history = History([target])
    for entry in await journal.read_target(run, target.id):
        history.add(entry.account, entry.seq, entry.at, entry.event)
    made = await made_in(journal, run)
    if made is not None:
        history.made = made
    row: Row = view(run, history, now).targets[0]
    at = row.finished_at if row.outcome is not None else None
    return Fared(at, run, title, row.outcome, row.phase, row.code, row.reason if at else None, row.run_seconds, row.url)
