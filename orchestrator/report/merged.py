"""A run and its retries seen as one: each target as the last run left it that asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.core.errors import Exit, severest
from orchestrator.core.frozen import replace
from orchestrator.core.model import Outcome
from orchestrator.report.view import LimitView, Report, Row, totals_of


def merged(reports: Sequence[Report]) -> Report:
    """The reports as one, which has the id of the first run; a single one stays as it is.

    Args:
        reports: of a run and its retries, oldest first.
    """
    first, *later = reports
    if not later:
        return first
    rows = {row.id: replace(row, run=first.run.id) for row in first.targets}
    for report in later:
        for row in report.targets:
            known = rows.get(row.id)
            if known is None or _counts(row, report):
                attempts = row.attempts + (0 if known is None else known.attempts)
                rows[row.id] = replace(row, run=report.run.id, attempts=attempts)
    targets, last = tuple(rows.values()), _last(reports)
    is_open = any(row.outcome is None for row in targets)
    going_on = any(_goes_on(report) for report in reports)
    run = replace(
        last.run,
        id=first.run.id,
        parent=first.run.parent,
        started_at=first.run.started_at,
        finished_at=None if going_on else max((report.run.finished_at or "" for report in reports), default="") or None,
        status=last.run.status if going_on or is_open else "ended",
        stopped_by=last.run.stopped_by if is_open else None,
        stopped_why=last.run.stopped_why if is_open else None,
        stopped_at=last.run.stopped_at if is_open else None,
        accounts_stopped=last.run.accounts_stopped if is_open else (),
        exit_code=None if going_on else int(severest([*_codes(first, targets), *_left(last, is_open=is_open)])),
        merged=tuple(report.run.id for report in reports),
    )
    return replace(
        first,
        run=run,
        totals=totals_of(targets),
        targets=targets,
        limits=_limits(reports),
        calls={kind: sum(report.calls[kind] for report in reports) for kind in first.calls},
        accounts={name: one for report in reports for name, one in report.accounts.items()},
        as_of=max(report.as_of for report in reports),
        facts=[fact for report in reports for fact in report.facts],
        forecast=None,
        to_come=[one for report in reports for one in report.to_come],
    )


def _counts(row: Row, report: Report) -> bool:
    """Whether the retry says more of the target than the run before: it sent it, or is still to send it."""
    return row.attempts > 0 or row.outcome not in (None, Outcome.SKIPPED) or (row.outcome is None and _goes_on(report))


def _goes_on(report: Report) -> bool:
    return report.run.status in ("running", "detached")


def _last(reports: Sequence[Report]) -> Report:
    """The run that tells how all of it stands: one that goes on, else the newest that did not end, else the newest."""
    found = [report for report in reports if _goes_on(report)]
    return (found or [report for report in reports if report.run.status != "ended"] or list(reports))[-1]


def _codes(first: Report, rows: Sequence[Row]) -> Iterator[Exit]:
    for row in rows:
        if row.is_in_doubt:
            yield Exit.IN_DOUBT
        elif row.outcome is not None and Outcome(row.outcome) in first.fail_on:
            yield Exit.FAILED


def _left(last: Report, *, is_open: bool) -> list[Exit]:
    """The code with which the last process left what is still open."""
    return [Exit(last.run.exit_code)] if is_open and last.run.exit_code in set(Exit) else []


def _limits(reports: Sequence[Report]) -> tuple[LimitView, ...]:
    found: dict[tuple[str, str], LimitView] = {}
    for one in (limit for report in reports for limit in report.limits):
        known = found.get((one.account, one.limit), LimitView(one.account, one.limit, 0, 0.0))
        waited = round(known.waited_seconds + one.waited_seconds, 3)
        found[one.account, one.limit] = replace(known, used=known.used + one.used, waited_seconds=waited)
    return tuple(found.values())
