"""What changed from one run to another, by target: what fails now, what was mended, what still fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.core.frozen import Struct
from orchestrator.core.model import DEFAULT_FAIL_ON, Outcome
from orchestrator.report.formats.json import plain_run
from orchestrator.report.groups import word_of
from orchestrator.report.view import Report, Row, RunView
from orchestrator.report.words import plain, sound

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


def as_text(diff: Diff, *, at_most: int = AT_MOST) -> str:
    """The changes for people."""
    return sound("".join(f"{line}\n" for line in _lines(diff, at_most)))


def _lines(diff: Diff, at_most: int) -> Iterator[str]:
    numbers = ", ".join(
        f"{len(changes):,} {kind.replace('_', ' ')}" for kind, changes in diff.changes.items() if changes
    )
    yield f"{diff.before.id} -> {diff.after.id}: {numbers or 'no change'}"
    for kind, changes in diff.changes.items():
        if changes:
            yield from ("", f"{kind.replace('_', ' ').upper()} ({len(changes):,})")
        yield from (_line(change) for change in changes[:at_most])
        if len(changes) > at_most:
            yield f"  ... and {len(changes) - at_most:,} more"


def _line(change: Change) -> str:
    words = [word_of(row) for row in (change.before, change.after) if row is not None]
    url = change.after.url if change.after is not None else None
    shown = words[0] if len(set(words)) == 1 else " -> ".join(words)
    return f"  {plain(change.id)}  {shown}{f'  {plain(url)}' if url else ''}"


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
