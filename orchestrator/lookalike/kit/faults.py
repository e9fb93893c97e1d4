"""What goes wrong on purpose: kinds of faults, which call gets one, and the chance that decides it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any

from orchestrator.core.frozen import Struct, replace
from orchestrator.lookalike.kit.http import HTML, JSON, Effect, Harm, Reply, text
from orchestrator.lookalike.kit.settings import Duration, Positive, Range, Reader, Share, words

GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
PORTAL = "<!DOCTYPE html><html><body><form action='/login'>Please log in to this network</form></body></html>\n"


class Chance:
    """Draws that depend on a seed and on names, not on the order of calls: the same name gives the same draw."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = str(seed).encode()

    def roll(self, *name: str | int) -> float:
        """A number from 0 to below 1 for this name."""
        return int.from_bytes(self.digest(*name)[:7], "big") / (1 << 56)

    def digest(self, *name: str | int) -> bytes:
        """20 bytes for this name."""
        text = "\0".join(map(str, name)).encode()
        return blake2b(text, digest_size=20, key=self._seed).digest()

    def between(self, span: Range, *name: str | int) -> float:
        """A number within the range."""
        low, high = span
        return low if low == high else low + (high - low) * self.roll(*name)

    def first_below(self, shares: Sequence[tuple[str, float]], *name: str | int) -> str | None:
        """One of the words, each as often as its share says; None for the rest."""
        roll = self.roll(*name) if shares else 0.0
        for word, share in shares:
            if roll < share:
                return word
            roll -= share
        return None


class Handling(StrEnum):
    """What the server does with a call that a fault has hit."""

    NEVER = "never"
    NOW = "now"
    LATE = "late"  # some seconds after the client saw the connection die
    STUCK = "stuck"  # it is accepted and written down, but never worked on


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


ERROR = text(500, "Internal Server Error\n")
KINDS: dict[str, Kind] = {
    "never_left": Kind(Handling.NEVER, Harm.NEVER_LEFT),
    "lost_before": Kind(Handling.NEVER, Harm.RESET),
    "lost_after": Kind(Handling.NOW, Harm.RESET),
    "timeout_before": Kind(Handling.NEVER, Harm.HANG),
    "timeout_after": Kind(Handling.NOW, Harm.HANG),
    "applied_late": Kind(Handling.LATE, Harm.RESET, seconds=20.0),
    "error_before": Kind(Handling.NEVER, instead=ERROR),
    "error_after": Kind(Handling.NOW, instead=ERROR),
    "error_stuck": Kind(Handling.STUCK, instead=text(500, '{"error":"Internal Server Error"}', JSON)),
    "html": Kind(Handling.NEVER, instead=text(502, GATEWAY, HTML)),
    "html_after": Kind(Handling.NOW, instead=text(502, GATEWAY, HTML)),
    "portal": Kind(Handling.NEVER, instead=text(200, PORTAL, HTML)),
    "torn": Kind(Handling.NOW, Harm.TORN),
    "garbled": Kind(Handling.NOW, cut=True),
    "slow": Kind(Handling.NOW, Harm.SLOW, seconds=5.0),
}


def _methods(given: Any) -> tuple[str, ...]:
    if given == "all":
        return ()
    return tuple(each.upper() for each in ([given] if isinstance(given, str) else given))


class FaultRule(Struct, frozen=True):
    """One thing that goes wrong on purpose. All conditions must hold.

    Args:
        share: of the calls that fit, drawn from the seed and the number of the call; None: all of them.
        nth: numbers of calls among those that fit this rule, counted from 1; empty: any.
        repo: only calls about this repository, by any of the names that the service knows it by.
        methods: empty: all.
        between: seconds since the look-alike began.
        seconds: how late or slow, where the kind has a duration.
    """

    kind: Annotated[str, words(KINDS)]
    share: Share | None = None
    nth: tuple[Positive, ...] = ()
    repo: str | None = None
    methods: Annotated[tuple[str, ...], Reader("all, or methods such as [GET, POST]", _methods)] = ("POST",)
    between: Range | None = None
    seconds: Duration | None = None


class Fault(Struct, frozen=True):
    """A kind that has hit a call."""

    name: str
    kind: Kind
    seconds: float

    def spoil(self, reply: Reply | None) -> Reply:
        """What arrives instead of the real reply; None where the server made none."""
        found = self.kind.instead or reply or ERROR
        body = found.body[: len(found.body) // 2] if self.kind.cut else found.body
        effect = None if self.kind.harm is None else Effect(self.kind.harm, self.seconds)
        return Reply(found.status, dict(found.headers), body, effect)


class Faults:
    """A plan of faults. The first rule that fits a call and draws it wins.

    Args:
        pages: the service's own error pages, by the kinds that answer with them.
    """

    def __init__(self, rules: Sequence[FaultRule], chance: Chance, pages: Mapping[str, Reply]) -> None:
        self.rules = tuple(rules)
        self._chance = chance
        self._kinds = {**KINDS, **{name: replace(KINDS[name], instead=page) for name, page in pages.items()}}
        self._fitting = [0] * len(self.rules)

    def choose(self, method: str, since: float, repo: Callable[[], Collection[str]]) -> Fault | None:
        """The fault for this call.

        Args:
            since: seconds since the look-alike began.
            repo: the names of the repository that the call is about, in lower case; called where a rule asks.
        """
        for index, rule in enumerate(self.rules):
            if self._hits(index, rule, method, since, repo):
                kind = self._kinds[rule.kind]
                return Fault(rule.kind, kind, kind.seconds if rule.seconds is None else rule.seconds)
        return None

    def _hits(
        self, index: int, rule: FaultRule, method: str, since: float, repo: Callable[[], Collection[str]]
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
