"""What goes wrong on purpose: kinds of faults, which call gets one, and the chance that decides it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

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


class Kind(Struct, frozen=True):
    """One way to fail. `stuck`: a trigger is accepted and written down, but never worked on."""

    handled: Literal["never", "now", "later", "stuck"]
    harm: Harm | None = None  # None: an answer arrives
    instead: Reply | None = None  # of the real answer
    cut: bool = False  # whole by HTTP's measure, but half of the JSON is missing
    seconds: float = 0.0  # default of the rule's

    def spoil(self, reply: Reply | None, seconds: float) -> Reply:
        """What arrives instead of the real reply; None where the server made none."""
        found = self.instead or reply or ERROR
        body = found.body[: len(found.body) // 2] if self.cut else found.body
        effect = None if self.harm is None else Effect(self.harm, seconds)
        return Reply(found.status, dict(found.headers), body, effect)


ERROR = text(500, "Internal Server Error\n")
KINDS: dict[str, Kind] = {
    "never_left": Kind("never", Harm.NEVER_LEFT),
    "lost_before": Kind("never", Harm.RESET),
    "lost_after": Kind("now", Harm.RESET),
    "timeout_before": Kind("never", Harm.HANG),
    "timeout_after": Kind("now", Harm.HANG),
    "applied_late": Kind("later", Harm.RESET, seconds=20.0),
    "error_before": Kind("never", instead=ERROR),
    "error_after": Kind("now", instead=ERROR),
    "error_stuck": Kind("stuck", instead=text(500, '{"error":"Internal Server Error"}', JSON)),
    "html": Kind("never", instead=text(502, GATEWAY, HTML)),
    "html_after": Kind("now", instead=text(502, GATEWAY, HTML)),
    "portal": Kind("never", instead=text(200, PORTAL, HTML)),
    "torn": Kind("now", Harm.TORN),
    "garbled": Kind("now", cut=True),
    "slow": Kind("now", Harm.SLOW, seconds=5.0),
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

    def fits(self, method: str, since: float, repo: Callable[[], Collection[str]]) -> bool:
        """Whether it is about such a call; see `Faults.choose`."""
        if self.methods and method not in self.methods:
            return False
        if self.between is not None and not self.between[0] <= since < self.between[1]:
            return False
        return self.repo is None or self.repo.lower() in repo()


class Faults:
    """A plan of faults. The first rule that fits a call and draws it wins; `pages` are the service's own errors."""

    def __init__(self, rules: Sequence[FaultRule], chance: Chance, pages: Mapping[str, Reply]) -> None:
        self.rules = tuple(rules)
        self._chance = chance
        self._kinds = {**KINDS, **{name: replace(KINDS[name], instead=page) for name, page in pages.items()}}
        self._fitting = [0] * len(self.rules)

    def choose(self, method: str, since: float, repo: Callable[[], Collection[str]]) -> tuple[FaultRule, Kind] | None:
        """The rule that hits this call, and its kind.

        Args:
            since: seconds since the look-alike began.
            repo: the names of the repository that the call is about, in lower case; called where a rule asks.
        """
        for index, rule in enumerate(self.rules):
            if rule.fits(method, since, repo):
                self._fitting[index] += 1
                number = self._fitting[index]
                is_counted = not rule.nth or number in rule.nth
                if is_counted and (rule.share is None or self._chance.roll("fault", index, number) < rule.share):
                    return rule, self._kinds[rule.kind]
        return None
