"""How a target fared in earlier runs: a letter an outcome, the newest last, kept by what tells the target apart.

What tells nothing of the target itself is left out: what we canceled or the provider replaced, what is in doubt, was
skipped, or was refused because of a limit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from orchestrator.core.events import Ended, Event, Refused, RunMade
from orchestrator.core.evidence import Past
from orchestrator.core.model import Outcome

KEPT = 20  # letters
AFTER_RERUN = "r"  # it failed at first and passed when it was started again
_LETTERS = {
    Outcome.PASSED: "p",
    Outcome.FAILED: "f",
    Outcome.ERRORED: "e",
    Outcome.CANCELED: "c",
    Outcome.REJECTED: "j",
    Outcome.TIMED_OUT: "t",
}
_OURS = frozenset({"canceled_by_us", "canceled_before_trigger"})
_OF_LIMITS = "request_limit_reached"
_REPO = re.compile(r"[^@\[#]*")


def letter_of(event: Event) -> str | None:
    """What is kept of an event that gives a verdict; None where nothing is."""
    if type(event) is Ended:
        if event.code in _OURS:
            return None
        return AFTER_RERUN if event.code == "passed_after_rerun" else _LETTERS.get(event.outcome)
    if type(event) is Refused and event.code != _OF_LIMITS:
        return _LETTERS[Outcome.REJECTED]
    return None


def services_of(made: RunMade) -> Mapping[str, str]:
    """By account, the service within which a run's targets are compared; all rehearsals of a type are one."""
    return {
        name: f"{one.get('type')} {'sandbox' if made.options.sandbox else one.get('url')}"
        for name, one in made.accounts.items()
        if isinstance(one, Mapping)
    }


def place_of(service: str, target: str) -> str:
    """What tells a target apart in all runs: its service, repository, ref, matrix and name.

    Args:
        target: its id.
    """
    rest = target.partition(":")[2]
    end = _REPO.match(rest).end()  # type: ignore[union-attr]  # it matches nothing, at least
    return f"{service} {rest[:end].lower()}{rest[end:]}"


def past_of(letters: str, failures: Collection[Outcome], *, has_reruns: bool) -> Past:
    """How many of a target's outcomes were bad: of first attempts, or of last ones where it is started again."""
    bad = [letter for outcome, letter in _LETTERS.items() if outcome in failures]
    if not has_reruns:
        bad.append(AFTER_RERUN)
    return Past(sum(map(letters.count, bad)), len(letters))
