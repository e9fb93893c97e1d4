"""What changed from one run to another, by target: what fails now, what was mended, what still fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome
from orchestrator.report.formats.json import plain_run
from orchestrator.report.groups import grouped, shares, word_of
from orchestrator.report.marks import mark
from orchestrator.report.view import Report, Row, RunView
from orchestrator.report.words import link, plain, short, sound
from orchestrator.report.wrap import Look, Piece, cells, drawn, isolated, named, padded, soft, written

SCHEMA = "orchestrator.diff/1"
AT_MOST = 50  # targets named for each kind of change in text


class Change(Struct, frozen=True):
    """One target in both runs; None where it was not part of one."""

    id: str
    before: Row | None
    after: Row | None


class Diff(Struct, frozen=True):
    """The changes, each kind in the order of the later plan.

    Args:
        newly_failing: fails now and did not before.
        fixed: failed before and passed now.
        still_failing: fails in both.
        undecided: failed or passed before, and has no such verdict now (open, in doubt, skipped).
        new: was no target before.
        gone: is no target now.
    """

    before: RunView
    after: RunView
    newly_failing: tuple[Change, ...]
    fixed: tuple[Change, ...]
    still_failing: tuple[Change, ...]
    undecided: tuple[Change, ...]
    new: tuple[Change, ...]
    gone: tuple[Change, ...]

    @property
    def changes(self) -> Mapping[str, Sequence[Change]]:
        """Each kind of change by its name."""
        return {name: getattr(self, name) for name in KINDS}


KINDS = tuple(name for name in Diff.__struct_fields__ if name not in ("before", "after"))


def compare(a: Report, b: Report) -> Diff:
    """What changed from `a` to `b`; targets are the same when their ids are."""
    before = {row.id: row for row in a.targets}
    after = {row.id: row for row in b.targets}
    found: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    for row in b.targets:
        kind = _kind(before.get(row.id), row)
        if kind is not None:
            found[kind].append(Change(row.id, before.get(row.id), row))
    found["gone"] = [Change(row.id, row, None) for row in a.targets if row.id not in after]
    return Diff(a.run, b.run, **{kind: tuple(changes) for kind, changes in found.items()})


def _kind(before: Row | None, after: Row) -> str | None:
    """The kind of change; None where nothing worth a word has changed."""
    if before is None:
        return "new"
    if _fails(after):
        return "still_failing" if _fails(before) else "newly_failing"
    if after.outcome == Outcome.PASSED:
        return "fixed" if _fails(before) else None
    return "undecided" if _fails(before) or before.outcome == Outcome.PASSED else None


def _fails(row: Row) -> bool:
    return row.outcome in DEFAULT_FAIL_ON


def as_text(diff: Diff, *, at_most: int = AT_MOST, look: Look = Look()) -> str:  # noqa: B008  # a frozen value
    """The changes for people: each kind by cause, with as many targets as `at_most`."""
    return sound("".join(f"{line}\n" for line in _lines(diff, at_most, look)))


def _lines(diff: Diff, at_most: int, look: Look) -> Iterator[str]:
    yield from written([[Piece(f"{diff.before.id} -> {diff.after.id}: {in_numbers(diff) or 'no change'}")]], look, 2)
    for kind, changes in diff.changes.items():
        if changes:
            yield from ("", drawn([Piece(f"{kind.replace('_', ' ').upper()} ({len(changes):,})", bold=True)], look))
            yield from _kinds(changes, at_most, look)


def in_numbers(diff: Diff) -> str:
    """How many there are of each kind of change; empty where nothing changed."""
    return ", ".join(f"{len(changes):,} {kind.replace('_', ' ')}" for kind, changes in diff.changes.items() if changes)


def _kinds(changes: Sequence[Change], at_most: int, look: Look) -> Iterator[str]:
    """The changes of one kind, by the cause for which a target fails now, or failed before."""
    telling = {_telling(change).id: change for change in changes}
    found = grouped(map(_telling, changes))
    passed = [change for change in changes if _telling(change).outcome == Outcome.PASSED]
    parts = [(group.mark, short(group.reason), [telling[row.id] for row in group.rows]) for group in found]
    parts += [(mark(Outcome.PASSED), "passed", passed)] if passed else []
    width = min(look.width // 2, max(cells(named(change.id)) for change in changes))
    for (of, reason, rows), share in zip(parts, shares([len(rows) for *_, rows in parts], at_most), strict=True):
        head = Piece(f"{of.symbol}{len(rows):>4,}  ", of.meaning, bold=True)
        yield from written([[head, Piece(isolated(reason))]], look, 7)
        for change in rows[:share]:
            yield from written([_line(change, width)], look, 9)
        if share < len(rows):
            yield f"       \u2026 {len(rows) - share:,} more"


def _telling(change: Change) -> Row:
    """The side whose cause is told: the one that does not pass, the later where both do not."""
    both = [row for row in (change.after, change.before) if row is not None]
    return next((row for row in both if row.outcome != Outcome.PASSED), both[0])


def _line(change: Change, width: int) -> list[Piece]:
    words = [word_of(row) for row in (change.before, change.after) if row is not None]
    shown = words[0] if len(set(words)) == 1 else " -> ".join(words)
    url = change.after.url if change.after is not None else None
    shown_url = [Piece("  "), Piece(plain(link(url) or url), whole=link(url) is not None)] if url else []
    return [Piece("       "), Piece(padded(named(change.id), width), whole=True), soft(f"  {shown}"), *shown_url]


def as_json(diff: Diff) -> str:
    """The changes for programs."""
    document = {
        "schema": SCHEMA,
        "before": plain_run(diff.before),
        "after": plain_run(diff.after),
        "totals": {kind: len(changes) for kind, changes in diff.changes.items()},
        **{kind: [_plain(change) for change in changes] for kind, changes in diff.changes.items()},
    }
    return sound(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def _plain(change: Change) -> dict[str, object]:
    both = {"before": change.before, "after": change.after}
    sides = {side: row and {name: getattr(row, name) for name in _SHOWN} for side, row in both.items()}
    return {"id": change.id, **sides}


_SHOWN = ("outcome", "code", "reason", "url", "build_number")
