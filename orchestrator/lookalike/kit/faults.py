"""What goes wrong on purpose: kinds of faults, and which call gets one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from orchestrator.core.frozen import Struct
from orchestrator.lookalike.kit.chance import Chance
from orchestrator.lookalike.kit.reply import HTML_TYPE, JSON_TYPE, Effect, Harm, Reply, text
from orchestrator.lookalike.travis.settings import FaultRule

SORRY = "Sorry, we experienced an error.\n\nrequest_id:sandbox\n"
STUCK = '{"error":"Travis encountered an error, sorry :("}'
GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
PORTAL = "<!DOCTYPE html><html><body><form action='/login'>Please log in to this network</form></body></html>\n"


class Handling(StrEnum):
    """What the server does with a call that a fault has hit."""

    NEVER = "never"
    NOW = "now"
    LATE = "late"  # some seconds after the client was let down
    STUCK = "stuck"  # the row is written, the queue never hears of it: pending for ever (reference 6).


class Kind(Struct, frozen=True):
    """One way to fail.

    Args:
        harm: what the transport does, None for an answer that arrives.
        instead: the answer that replaces the real one.
        cut: the real answer arrives whole by HTTP's measure, but half its JSON is missing.
        seconds: default of the rule's `seconds`.
    """

    handling: Handling
    harm: Harm | None = None
    instead: Reply | None = None
    cut: bool = False
    seconds: float = 0.0


KINDS: dict[str, Kind] = {
    "never_left": Kind(Handling.NEVER, Harm.NEVER_LEFT),
    "lost_before": Kind(Handling.NEVER, Harm.RESET),
    "lost_after": Kind(Handling.NOW, Harm.RESET),
    "timeout_before": Kind(Handling.NEVER, Harm.HANG),
    "timeout_after": Kind(Handling.NOW, Harm.HANG),
    "applied_late": Kind(Handling.LATE, Harm.RESET, seconds=20.0),
    "error_before": Kind(Handling.NEVER, instead=text(500, SORRY)),
    "error_after": Kind(Handling.NOW, instead=text(500, SORRY)),
    "error_stuck": Kind(Handling.STUCK, instead=text(500, STUCK, JSON_TYPE)),
    "html": Kind(Handling.NEVER, instead=text(502, GATEWAY, HTML_TYPE)),
    "html_after": Kind(Handling.NOW, instead=text(502, GATEWAY, HTML_TYPE)),
    "portal": Kind(Handling.NEVER, instead=text(200, PORTAL, HTML_TYPE)),
    "torn": Kind(Handling.NOW, Harm.TORN),
    "garbled": Kind(Handling.NOW, cut=True),
    "slow": Kind(Handling.NOW, Harm.SLOW, seconds=5.0),
}


class Fault(Struct, frozen=True):
    """A kind that has hit a call."""

    name: str
    kind: Kind
    seconds: float

    def spoil(self, reply: Reply | None) -> Reply:
        """What arrives instead of the real reply; None where the server made none."""
        found = self.kind.instead or reply or text(500, SORRY)
        body = found.body[: len(found.body) // 2] if self.kind.cut else found.body
        effect = None if self.kind.harm is None else Effect(self.kind.harm, self.seconds)
        return Reply(found.status, dict(found.headers), body, effect)


class Faults:
    """A plan of faults. The first rule that fits a call and draws it wins."""

    def __init__(self, rules: Sequence[FaultRule], chance: Chance) -> None:
        self.rules = tuple(rules)
        self._chance = chance
        self._fitting = [0] * len(self.rules)

    def choose(self, method: str, since: float, repo: Callable[[], tuple[str, ...]]) -> Fault | None:
        """The fault for this call.

        Args:
            since: seconds since the world began.
            repo: the names of the repository that the call is about, looked up only where a rule asks.
        """
        for index, rule in enumerate(self.rules):
            if self._hits(index, rule, method, since, repo):
                kind = KINDS[rule.kind]
                return Fault(rule.kind, kind, kind.seconds if rule.seconds is None else rule.seconds)
        return None

    def _hits(
        self, index: int, rule: FaultRule, method: str, since: float, repo: Callable[[], tuple[str, ...]]
    ) -> bool:
        if rule.methods and method not in rule.methods:
            return False
        if rule.between is not None and not rule.between[0] <= since < rule.between[1]:
            return False
        if rule.repo is not None and rule.repo.lower() not in repo():
            return False
        self._fitting[index] += 1
        number = self._fitting[index]
        if rule.nth and number not in rule.nth:
            return False
        return rule.share is None or self._chance.roll("fault", index, number) < rule.share
