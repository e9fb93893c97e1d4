"""How the targets of a run ended, as it is kept beyond the run: `runs --prune` forgets runs, not what is usual.

A target is the same one in every run by its service, repository, ref, matrix and name, whatever the account is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from orchestrator.core.calls import is_loopback
from orchestrator.core.evidence import KNOWN
from orchestrator.core.frozen import Struct
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Account, Outcome, Target
from orchestrator.core.progress import Progress, Verdict

SAYS_NOTHING = (Outcome.SKIPPED, Outcome.IN_DOUBT, Outcome.SUPERSEDED)  # of the target itself
LIMITED = "request_limit_reached"


class Known(Struct, frozen=True, omit_defaults=True, gc=False):
    """How a target ended in a run.

    Args:
        at: when its verdict was given (wall clock).
        first: the outcome of its first attempt, where it was rerun; else empty.
    """

    run: str
    at: float
    outcome: str
    first: str = ""


def service_of(account: Account) -> str:
    """A service as every run names it, and people read it; that of a rehearsal has a new port each time."""
    host = urlsplit(account.url).hostname or ""
    return f"{account.type} at {host if is_loopback(host) else account.url}"


def identity(target: Target, account: Account) -> str:
    """What tells a target apart in every run."""
    type_, _, place = service_of(account).partition(" at ")
    return json.dumps([type_, place, target.repo.casefold(), target.branch, dict(target.matrix), target.name])


def service_in(identity: str) -> str:
    """The service of a target, from what tells that apart."""
    type_, place, *_ = json.loads(identity)
    return f"{type_} at {place}"


def outcomes_of(run: str, history: History) -> Iterator[tuple[str, Known]]:
    """How the targets of a run ended, by what tells each apart; those of which that says nothing are left out."""
    accounts = accounts_in(history.made)
    for target in history.targets:
        progress, account = history.of(target.id), accounts.get(target.account)
        verdict = progress.verdict
        if account is not None and verdict is not None and _says_something(verdict, progress):
            first = Outcome.FAILED.value if progress.was_rerun else ""  # only what failed is started again
            yield identity(target, account), Known(run, verdict.at, verdict.outcome.value, first)


def newest(known: Iterable[Known]) -> Sequence[Known]:
    """Those that count, each run once, the newest first."""
    by_run = {one.run: one for one in known}
    return sorted(by_run.values(), key=lambda one: (-one.at, one.run))[:KNOWN]


def _says_something(verdict: Verdict, progress: Progress) -> bool:
    if verdict.outcome in SAYS_NOTHING:
        return False
    if verdict.outcome is Outcome.CANCELED:  # by us, it says nothing
        return progress.canceling_at is None and progress.build is not None
    return verdict.outcome is not Outcome.REJECTED or verdict.code != LIMITED
