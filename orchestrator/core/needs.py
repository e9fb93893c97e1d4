"""Which targets wait for others that they need, and what becomes of them: outcomes in, facts to journal out.

A target of which a need did not pass is skipped in the name of the *root*: the first target along its needs that did
not pass for a reason of its own. So all that one root took along is one group in every report.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from orchestrator.core.events import Event, Released, Skipped, Stopped
from orchestrator.core.model import Outcome, Target
from orchestrator.core.progress import NEED_NOT_PASSED, Progress, Verdict
from orchestrator.core.times import counted
from orchestrator.core.waves import RUN, STOP

RULE = "needs_not_passed"  # that stops a run


class Needs:
    """The fold; what was decided before is told by the progress of the targets.

    Args:
        known: by id, of the targets that have any; it is looked at later, too.
        overridden_until: a stop because of needs that had ended by then was overridden (wall clock).
        are_open: the waves that are open; it is looked at later, too. None: all.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        known: Mapping[str, Progress],
        overridden_until: float = -math.inf,
        are_open: Collection[int] | None = None,
    ) -> None:
        self._targets = targets
        self._known = known
        self._overridden_until = overridden_until
        self._are_open = are_open
        self._later: dict[int, list[tuple[int, str]]] = {}  # by wave that is not open, rows with a need that failed
        self._rows: dict[str, int] = {}
        self._unmet: dict[int, set[str]] = {}  # by row, its needs that have not passed
        self._dependents: dict[str, list[int]] = {}
        self._waiting: set[int] = set()  # those of `_unmet` that are not skipped: later evidence may release the others
        for row, target in enumerate(targets):
            progress = known.get(target.id)
            if target.needs and target.skip is None and (progress is None or _may_be_released(progress)):
                self._add(row, target, is_skipped=progress is not None and progress.is_done)

    def _add(self, row: int, target: Target, *, is_skipped: bool) -> None:
        self._rows[target.id] = row
        self._unmet[row] = set(target.needs)
        if not is_skipped:
            self._waiting.add(row)
        for need in target.needs:
            self._dependents.setdefault(need, []).append(row)

    @property
    def are_awaited(self) -> bool:
        """Whether a target waits for what it needs."""
        return bool(self._waiting)

    def hold(self, row: int) -> bool:
        """Whether a need of this target has not passed."""
        return row in self._unmet

    def row_of(self, target: str) -> int:
        """The place in the plan of a target that was released."""
        return self._rows[target]

    def begin(self) -> list[Event]:
        """What follows from what is known, and was not journaled."""
        needed = [(id_, self._known[id_]) for id_ in self._dependents if id_ in self._known]
        return [fact for id_, one in needed for fact in self.settled(id_, one)]

    def forget(self, targets: Collection[str]) -> None:
        """These wait for nothing any more."""
        for id_ in targets:
            row = self._rows.get(id_, -1)
            self._unmet.pop(row, None)
            self._waiting.discard(row)

    def settled(self, need: str, progress: Progress) -> list[Event]:
        """What follows from a target's outcome, if it has one, for those that need it; one stop at most."""
        verdict = progress.verdict
        if verdict is None:
            return []
        rows = [row for row in self._dependents.get(need, ()) if row in self._unmet]
        if verdict.outcome is Outcome.PASSED:
            return [*self._met(need, rows)]
        facts: list[Event] = []
        for row in rows:
            facts += self._not_met(need, verdict, row) if row in self._waiting else ()
        stops = [fact for fact in facts if isinstance(fact, Stopped)]
        return [*(fact for fact in facts if not isinstance(fact, Stopped)), *stops[:1]]

    def opened(self, wave: int) -> list[Event]:
        """What follows for the targets of a wave from needs that did not pass before it was opened."""
        facts: list[Event] = []
        for row, need in self._later.pop(wave, ()):
            verdict = self._known[need].verdict
            if row in self._waiting and verdict is not None and verdict.outcome is not Outcome.PASSED:
                facts += self._not_met(need, verdict, row)
        return facts

    def _met(self, need: str, rows: Iterable[int]) -> Iterable[Event]:
        for row in rows:
            unmet = self._unmet[row]
            unmet.discard(need)
            if not unmet:
                del self._unmet[row]
                self._waiting.discard(row)
                yield Released(self._targets[row].id)

    def _not_met(self, need: str, verdict: Verdict, row: int) -> Iterable[Event]:
        target = self._targets[row]
        root, steps = (verdict.root, verdict.steps + 1) if verdict.root else (need, 1)
        if target.needs_not_passed == RUN:
            return self._met(need, [row])
        why = because(root, self._known[root].verdict or verdict, steps)
        if target.needs_not_passed == STOP and verdict.at > self._overridden_until:
            return [Stopped(RULE, f"{target.id} {why}", wave=target.wave)]
        if self._are_open is not None and target.wave not in self._are_open:  # a stop before it leaves it open
            self._later.setdefault(target.wave, []).append((row, need))
            return []
        self._waiting.discard(row)
        return [Skipped(target.id, why, NEED_NOT_PASSED, root, steps)]


def _may_be_released(progress: Progress) -> bool:
    verdict = progress.verdict
    return not progress.released and (verdict is None or verdict.code == NEED_NOT_PASSED)


def because(root: str, verdict: Verdict, steps: int) -> str:
    """Why a target is skipped.

    Args:
        verdict: on the root.
        steps: from the target to the root; 1 where the root is a need of its own.
    """
    return f"needs {root}, which {_words(verdict)}, {counted(steps, 'step')} away"


def _words(verdict: Verdict) -> str:
    known = {Outcome.IN_DOUBT: "is in doubt", Outcome.TIMED_OUT: "timed out"}
    verb = "was " if verdict.outcome.value.endswith(("canceled", "rejected", "skipped", "superseded")) else ""
    return known.get(verdict.outcome, f"{verb}{verdict.outcome.value}")
