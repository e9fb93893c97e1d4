"""Refuses a target that is another one of the run, under another name of its repository.

Repositories are looked up one by one, shortly before their first trigger: by then the other target may have been sent
long ago. So what is decided must not depend on the order, nor on what this process remembers: the target that is
written with the present name is triggered, the others never are. Where none is, it is the one asked for first.
"""

from __future__ import annotations

from orchestrator.core.events import Refused
from orchestrator.core.names import SAME_REPOSITORY, Names, told
from orchestrator.engine.facts import AccountRun
from orchestrator.providers.port import repository_in


class Twins:
    """The twins of one account."""

    def __init__(self, account: AccountRun) -> None:
        self._account = account
        self._names: Names | None = None  # made for the first repository that is called otherwise: most runs have none

    def of(self, row: int, place: str) -> Refused | None:
        """The refusal of a row that is about to be triggered first; None where it may be.

        Args:
            place: where what its trigger needs was looked up.
        """
        account = self._account
        if (name := repository_in(account.prepared.get(place))) is None or account.progress(row).request is not None:
            return None
        if self._names is None:
            self._names = self._with_what_was_asked()
        if (twin := self._names.twin(target := account.target(row), name)) is None:
            return None
        return Refused(target.id, SAME_REPOSITORY, f"{told(twin)}; nothing was triggered; remove one of the two")

    def _with_what_was_asked(self) -> Names:
        """The names of all targets of the account; what was asked for before this process goes first."""
        account = self._account
        mine = [row for row, target in enumerate(account.run.history.targets) if target.account == account.name]
        names = Names(map(account.target, mine), folds=account.line.declaration.fold_case)
        for row in mine:
            progress = account.progress(row)
            if progress.attempts or progress.request is not None:
                names.twin(account.target(row), repository_in(account.prepared.get(account.prepared_key(row))))
        return names
