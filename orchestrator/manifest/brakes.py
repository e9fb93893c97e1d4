"""What an account's `limits:` say beyond rates: the brake on the CI, quiet hours, the share of each rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Limit, Target
from orchestrator.limits.concurrency import Brake, Cap, QueueRule, part
from orchestrator.limits.quiet_hours import LONGEST, Quiet, make_quiet, parse_quiet, quiet_until
from orchestrator.manifest.diagnostics import near
from orchestrator.manifest.files import Files
from orchestrator.manifest.positions import Value
from orchestrator.manifest.units import parse_duration

KEYS = ("connections", "in_flight", "in_flight_per_owner", "in_flight_per_label", "queue", "quiet_hours", "share")
"""The keys below `limits` that are the same for every provider."""

EACH = "*"  # an owner that has no number of its own
SHORTEST = 5.0  # seconds between two looks at a queue

Keys = tuple[str | int, ...]


def brake_of(limits: Mapping[str, Value], quiet: tuple[Quiet, ...], fold_case: bool, keys: Keys, files: Files) -> Brake:
    """The brake of an account; what is wrong with it goes to the files' problems.

    Args:
        limits: the account's, each value of a type that the schema allows.
        quiet: the manifest's quiet hours, for an account that has none of its own.
        keys: the path that leads to the limits.
    """
    own = quiet_of(limits, keys, files) if "quiet_hours" in limits else quiet
    return Brake(tuple(_caps(limits, fold_case)), _queue(limits, keys, files), own)


def shared(limit: Limit, limits: Mapping[str, Value]) -> Limit:
    """The share of a rate that this machine may use."""
    if "share" not in limits:
        return limit
    share = int(limits["share"].rstrip("%"))
    return replace(limit, calls=part(limit.calls, share), share=share)


def _caps(limits: Mapping[str, Value], fold_case: bool) -> Iterator[Cap]:
    owners = limits.get("in_flight_per_owner", {})
    for name, most in owners.items() if isinstance(owners, dict) else ((EACH, owners),):
        yield Cap("owner" if name == EACH else f"owner:{name.lower() if fold_case else name}", most)
    for name, most in limits.get("in_flight_per_label", {}).items():
        yield Cap(f"label:{name}", most)


def idle_caps(accounts: Mapping[str, Account], targets: Iterable[Target]) -> Iterator[str]:
    """A sentence for each cap on an owner or a label that no target of its account has: most likely a slip."""
    owners: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    capped = {name for name, account in accounts.items() if account.brake.caps}
    for target in targets if capped else ():
        if target.account in capped:
            owners.setdefault(target.account, set()).add(target.owner.lower())
            labels.setdefault(target.account, set()).update(target.labels)
    for account in owners:  # one without targets is not in use
        for kind, _, name in (cap.scope.partition(":") for cap in accounts[account].brake.caps):
            known = owners[account] if kind == "owner" else labels[account]
            if name and (name.lower() if kind == "owner" else name) not in known:
                text = f"account {account}: in_flight_per_{kind} of {name} caps nothing: no target has this {kind}"
                yield f"{text}; {near(name, known)}" if known else text


def _queue(limits: Mapping[str, Value], keys: Keys, files: Files) -> QueueRule | None:
    if "queue" not in limits:
        return None
    written = limits["queue"]
    said: Mapping[str, Value] = written if isinstance(written, dict) else {"below": written}
    below = said["below"]
    resume, reserve = said.get("resume", max(1, below * 3 // 4)), said.get("reserve", 0)
    here = (*keys, "queue")
    if resume > below:
        text = f"triggers cannot go on at {resume} when they stop at {below}"
        files.say(text, f"write {below} or less", said, "resume", (*here, "resume"))
    if reserve >= below:
        text = f"a reserve of {reserve} leaves nothing of {below} for this run"
        files.say(text, "write a smaller one", said, "reserve", (*here, "reserve"))
    seconds = {name: _seconds(said, name, here, files) for name in ("dead_after", "every") if name in said}
    if seconds.get("every", SHORTEST) < SHORTEST:
        text = f"a look at the queue every {said['every']} would cost too many calls"
        files.say(text, f"write {SHORTEST:g}s or more", said, "every", (*here, "every"))
    return QueueRule(below, resume, reserve, **seconds)


def _seconds(said: Mapping[str, Value], name: str, keys: Keys, files: Files) -> float:
    try:
        return parse_duration(said[name])
    except ValueError as error:
        files.say(str(error), "", said, name, (*keys, name))
        return SHORTEST


def quiet_of(said: Mapping[str, Value], keys: Keys, files: Files) -> tuple[Quiet, ...]:
    """The quiet hours under `quiet_hours`: a text, a map, or a list of them."""
    written, here = said["quiet_hours"], (*keys, "quiet_hours")
    places: Sequence[tuple[Value, str | int, Keys]]
    if isinstance(written, list):
        places = [(written, index, (*here, index)) for index in range(len(written))]
    else:
        places = [(said, "quiet_hours", here)]
    found = [quiet for place in places if (quiet := _quiet(*place, files)) is not None]
    if quiet_until(found, 0.0)[0] > LONGEST:
        files.say("it is always quiet: nothing could ever be triggered", "leave a gap", said, "quiet_hours", here)
    return tuple(found)


def _quiet(container: Value, key: str | int, keys: Keys, files: Files) -> Quiet | None:
    written = container[key]
    try:
        if isinstance(written, dict):
            return make_quiet(
                written.get("days", "mon-sun"), written["from"], written["to"], written.get("zone", "UTC")
            )
        return parse_quiet(written)
    except ValueError as error:
        files.say(str(error), "", container, key, keys)
        return None
