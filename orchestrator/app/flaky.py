"""How often each target passed, failed, or passed only after a rerun, over the runs of the state: flakes first."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.errors import UnknownEvents, UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.history import accounts_in
from orchestrator.core.model import Outcome
from orchestrator.journal.history import load
from orchestrator.journal.outcomes import Known, identity, outcomes_of
from orchestrator.journal.pasts import within_bounds
from orchestrator.journal.port import Journal

SCHEMA = "orchestrator.flaky/1"


class Record(Struct, frozen=True):
    """One target over the runs that are known.

    Args:
        id: as the newest of them has it.
        passed: at the first attempt.
        passed_after_rerun: only when its build was started again.
        failed: or ended in another way that is no pass, after all reruns.
        last_run: the newest run in which it ended.
    """

    id: str
    account: str
    repo: str
    branch: str | None
    passed: int = 0
    passed_after_rerun: int = 0
    failed: int = 0
    last_run: str = ""

    @property
    def runs(self) -> int:
        """In how many runs it ended."""
        return self.passed + self.passed_after_rerun + self.failed

    @property
    def rank(self) -> tuple[float, float, float]:
        """How unsteady it is: by reruns that helped, by having both passed and failed, by failures."""
        good = self.passed + self.passed_after_rerun
        return self.passed_after_rerun / self.runs, min(good, self.failed) / self.runs, self.failed / self.runs


async def flaky(journal: Journal, name: str | None) -> tuple[list[Record], int]:
    """The targets that did not always pass at once, the most unsteady first; and how many always did.

    Args:
        name: of the runs that count; None: all, those that were forgotten included.

    Raises:
        UsageError: there is no run of that name.
    """
    rows = [row for row in await journal.runs() if name in (None, row.name)]
    if name is not None and not rows:
        raise UsageError(f"there is no run of the name {name!r}; `orchestrator runs` lists what there is")
    records: dict[str, Record] = {}
    known: dict[str, list[Known]] = {}
    for row in within_bounds(rows):
        try:
            history = await load(journal, row.id)
        except UnknownEvents:  # of a newer version: only that run is refused
            continue
        accounts = accounts_in(history.made)
        for target in [target for target in history.targets if target.account in accounts]:
            record = Record(target.id, target.account, target.repo, target.branch)
            records.setdefault(identity(target, accounts[target.account]), record)
        for one, outcome in outcomes_of(row.id, history):
            known.setdefault(one, []).append(outcome)
    forgotten = {} if name is not None else await journal.outcomes(records.keys())
    found = [_counted(records[one], [*ended, *forgotten.get(one, ())]) for one, ended in known.items()]
    unsteady = [record for record in found if record.passed < record.runs]
    return sorted(unsteady, key=lambda one: one.rank, reverse=True), len(found) - len(unsteady)


def _counted(record: Record, known: Sequence[Known]) -> Record:
    """The record with what is known of it, each run once."""
    newest = {one.run: one for one in sorted(known, key=lambda one: one.at)}
    passed = [one for one in newest.values() if one.outcome == Outcome.PASSED]
    again = sum(bool(one.first) for one in passed)
    last = max(newest.values(), key=lambda one: one.at).run
    return replace(
        record,
        passed=len(passed) - again,
        passed_after_rerun=again,
        failed=len(newest) - len(passed),
        last_run=last,
    )
