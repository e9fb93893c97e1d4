"""The targets of one account in a simulated run: the admission that the engine asks, with a budget and polls."""

from __future__ import annotations

import math

from orchestrator.core.model import Account, Plan
from orchestrator.core.options import Options
from orchestrator.forecast.polls import Polls
from orchestrator.forecast.result import Binding
from orchestrator.limits.admission import SERIAL, Admission, Candidate, Terms, Wait
from orchestrator.limits.budget import Budget, Permit
from orchestrator.providers.port import Declaration


class AccountQueue:
    """The targets of one account in a simulated run.

    Attributes:
        wake_at: when the next row can be triggered by time alone; infinity where only an event can change anything.
        triggered: how many triggers left; `again`: rows whose builds wait to be started again.
        in_flight: how many of its builds may be queued or running, and whether the run says so, not the account.
        binding: which rule made the next trigger wait, and when.
        is_polling: whether a round of polls is to come.
    """

    def __init__(
        self, number: int, plan: Plan, account: Account, declaration: Declaration, start: float, options: Options
    ) -> None:
        self.number = number
        self.restarts = declaration.restarts
        self.budget = Budget(account.limits, declaration.accepted_limits, folds=declaration.fold_case)
        self.in_flight = _in_flight(account, options)
        terms = Terms(account, self.budget, declaration.trigger_limits, lambda now: start + now, options)
        self.admission = Admission(plan.targets, terms, self._held)
        self.polls = Polls(account, declaration, self.budget)
        self.binding = Binding()
        self._targets = plan.targets
        self._permits: dict[int, Permit] = {}
        self._closed_until = -math.inf
        self.is_polling = False
        self.again: set[int] = set()
        self.wake_at = math.inf
        self.triggered = 0

    def _held(self, wait: Wait) -> None:
        if wait.place and wait.rule != SERIAL:
            self.binding.places.setdefault(wait.rule, {})[wait.place] = None

    def remember(self, row: int, at: float, *, refused: bool) -> None:
        """The row's trigger was answered then; oldest first."""
        budget, repo = self.budget, self.admission.repo_of(row)
        for name in self.admission.costs:
            if name in budget.limits and not (refused and name in budget.accepted):
                budget.remember(name, budget.scope_of(budget.limits[name], repo), at)
        self.admission.remember(row, at)

    def take_up(self, row: int) -> None:
        """The row's build goes on, and is followed."""
        self.admission.accepted(row)
        self.polls.follow(row, self._targets[row].owner, self.triggered)

    def start_rows(self, now: float, others_wait_for: str) -> list[int]:
        """The rows whose triggers leave now; `wake_at` tells when to ask again.

        Args:
            others_wait_for: what rows wait for that are not here yet.
        """
        taken: list[int] = []
        if now < self._closed_until:
            self.wake_at = self._closed_until
            return taken
        while isinstance(found := self.admission.take(now), Candidate):
            self._permits[found.row] = self.budget.take(found.costs, found.repo)
            self.triggered += found.row not in self.again
            taken.append(found.row)
        self.wake_at = found.until
        if found.rule and not found.place and found.until < math.inf:
            self._closed_until = found.until
        if found.rule != SERIAL:  # that is over in a moment, so nothing that a person waits for
            self.binding.binds(now, found.rule or others_wait_for)
        return taken

    def answered(self, row: int, now: float) -> None:
        """The row's trigger is answered: its build is followed from now on."""
        self._permits.pop(row).answered(now, row in self.again)  # where only new requests count, a rerun does not
        self.again.discard(row)
        self.admission.traffic.under_way -= 1
        self.polls.changed(now)
        self.take_up(row)

    def ended(self, row: int, now: float) -> None:
        """A poll showed the end of the row's build."""
        self.polls.ended(row, self._targets[row].owner, self.triggered)
        self.polls.changed(now)
        self.admission.over(row)

    def start_again(self, row: int, now: float) -> None:
        """The row's build failed, and waits for its turn to be started again."""
        self.ended(row, now)
        self.again.add(row)
        self.admission.enqueue(row)


def _in_flight(account: Account, options: Options) -> tuple[int | None, bool]:
    most = min((n for n in (account.in_flight, options.in_flight) if n is not None), default=None)
    return most, most is not None and most == options.in_flight
