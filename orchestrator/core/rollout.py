"""Rollouts: how the targets of a run are cut into waves, and which of them may be sent before which.

Everything here is a plain function over values, asked by `plan`, by the coordinator and by the report alike.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, field, replace
from orchestrator.core.model import Target

FILE, SHUFFLE, FASTEST, SLOWEST = "file", "shuffle", "fastest", "slowest"
ORDERS = (FILE, SHUFFLE, FASTEST, SLOWEST)
FOLLOW, CANCEL = "follow", "cancel"
REST = "rest"  # the name of the wave that is added for what no other one holds


class WaveRule(Struct, frozen=True, omit_defaults=True):
    """A wave as the manifest writes it: a bound, or labels.

    Args:
        upto: how many targets stand in this wave and those before it: a number, or a share such as `10%`.
        labels: it holds the targets that have all of these, and what these need.
        approve: whether a person must let the next wave open; None: as the rollout says.
        soak: seconds between its verdict and the next wave; None: as the rollout says.
    """

    upto: str = ""
    labels: tuple[str, ...] = ()
    name: str = ""
    approve: bool | None = None
    soak: float | None = None


class StopWhen(Struct, frozen=True, omit_defaults=True):
    """When a rollout stops; each rule is off unless it is written.

    Args:
        failed: so many bad targets, or a share such as `20%` of those sent so far.
        after: settled targets before which a share stops nothing.
        in_a_row: so many bad targets, one after the other.
        worse_than_usual: the chance with which a rollout that fails as usual is stopped.
        nothing_passed: whether a wave of which nothing passed stops the run before the next one.
    """

    failed: str = ""
    after: int = 10
    in_a_row: int | None = None
    worse_than_usual: float | None = None
    nothing_passed: bool = True


class Rollout(Struct, frozen=True, omit_defaults=True):
    """How a run spreads; without waves it is one wave."""

    waves: tuple[WaveRule, ...] = ()
    order: str = FILE
    approve: bool = False
    soak: float = 0.0
    stop_when: StopWhen = field(default_factory=StopWhen)
    on_stop: str = FOLLOW


class Wave(Struct, frozen=True, omit_defaults=True):
    """Targets that may run together.

    Args:
        number: from 1, without gaps.
        name: as written, else the number.
        targets: ids, in the order of triggering.
        drawn: those of them that stand here only because a target with the wave's labels needs them.
        approve: whether a person must let the next wave open after this one's verdict.
        soak: seconds between its verdict and the next wave.
    """

    number: int
    name: str
    targets: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    approve: bool = False
    soak: float = 0.0


class Cut(Struct, frozen=True):
    """A plan cut into waves.

    Args:
        targets: in the order of triggering, each with the number of its wave; what is skipped stands in wave 1.
        empty: names of waves by labels that the selection left without targets.
    """

    targets: Sequence[Target]
    waves: Sequence[Wave]
    empty: Sequence[str] = ()


def cut(targets: Sequence[Target], rollout: Rollout, run: str, seconds: Mapping[str, float]) -> Cut:
    """Orders targets and cuts them into waves.

    Args:
        targets: the selected ones, in plan order.
        run: the run's id, by which `shuffle` shuffles.
        seconds: by id, how long the builds of targets with a history take.

    Raises:
        UsageError: two waves have one name, or bounds fall.
    """
    counted = [target for target in targets if target.skip is None]
    order = behind_needs(_in_order(counted, rollout.order, run, seconds))
    rules = rollout.waves or (WaveRule("100%"),)
    _check_bounds(rules, len(order))
    placed: dict[str, int] = {}
    waves: list[Wave] = []
    empty: list[str] = []
    for rule in (*rules, WaveRule("100%", name=REST)):
        taken, drawn = _taken(rule, order, placed)
        if not taken:
            if rule.labels:
                empty.append(rule.name or ",".join(rule.labels))
            continue
        number = len(waves) + 1
        approve = rollout.approve if rule.approve is None else rule.approve
        soak = rollout.soak if rule.soak is None else rule.soak
        waves.append(Wave(number, rule.name or str(number), tuple(taken), tuple(drawn), approve, soak))
        placed.update(dict.fromkeys(taken, number))
    _check_names(waves)
    if waves:  # nothing waits behind the last one
        waves[-1] = replace(waves[-1], approve=False, soak=0.0)
    by_id = {target.id: target for target in order}
    sent = [replace(by_id[id_], wave=wave.number) for wave in waves for id_ in wave.targets]
    return Cut([*sent, *(target for target in targets if target.skip is not None)], waves, empty)


def behind_needs(order: Sequence[Target]) -> Sequence[Target]:
    """The targets with each behind its needs: next is always the first in order of which all needs are placed."""
    place = {target.id: number for number, target in enumerate(order)}
    open_needs = [sum(need in place for need in set(target.needs)) for target in order]
    dependents: list[list[int]] = [[] for _ in order]
    for number, target in enumerate(order):
        for need in set(target.needs):
            if need in place:
                dependents[place[need]].append(number)
    ready = [number for number, needs in enumerate(open_needs) if not needs]  # ascending, so already a heap
    placed: list[Target] = []
    while ready:
        number = heapq.heappop(ready)
        placed.append(order[number])
        for dependent in dependents[number]:
            open_needs[dependent] -= 1
            if not open_needs[dependent]:
                heapq.heappush(ready, dependent)
    return placed


def _in_order(targets: Sequence[Target], order: str, run: str, seconds: Mapping[str, float]) -> Sequence[Target]:
    if order == SHUFFLE:
        return sorted(targets, key=lambda target: hashlib.sha256(f"{run}\n{target.id}".encode()).digest())
    if order in (FASTEST, SLOWEST):
        known = [seconds[target.id] for target in targets if target.id in seconds]
        median = statistics.median(known) if known else 0.0
        sign = 1.0 if order == FASTEST else -1.0
        return sorted(targets, key=lambda target: sign * seconds.get(target.id, median))
    return targets


def _taken(rule: WaveRule, order: Sequence[Target], placed: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The ids of a wave's targets, in order, and those of them that were only drawn forward."""
    rest = [target for target in order if target.id not in placed]
    if not rule.labels:
        bound = min(len(order), max(_bound(rule.upto, len(order)), len(placed) + 1))
        return [target.id for target in rest[: bound - len(placed)]], []
    labelled = {target.id for target in rest if set(rule.labels).issubset(target.labels)}
    wanted = _with_needs(labelled, rest)
    return [t.id for t in rest if t.id in wanted], [t.id for t in rest if t.id in wanted and t.id not in labelled]


def _with_needs(wanted: Collection[str], rest: Iterable[Target]) -> set[str]:
    needs = {target.id: target.needs for target in rest}
    found, todo = set(wanted), list(wanted)
    while todo:
        new = [need for need in needs[todo.pop()] if need in needs and need not in found]
        found.update(new)
        todo.extend(new)
    return found


def _bound(upto: str, total: int) -> int:
    """How many targets a bound stands for; a share is rounded up."""
    if not upto.endswith("%"):
        return int(upto)
    return math.ceil(Fraction(upto[:-1]) * total / 100)


def _check_bounds(rules: Sequence[WaveRule], total: int) -> None:
    last = None
    for rule in rules:
        if rule.labels:
            continue
        if last is not None and last[-1:] == rule.upto[-1:] == "%" and float(rule.upto[:-1]) < float(last[:-1]):
            raise UsageError(f"rollout.waves: {rule.upto} after {last}: bounds are cumulative, so they must not fall")
        if last is not None and "%" not in last + rule.upto and int(rule.upto) < int(last):
            raise UsageError(f"rollout.waves: {rule.upto} after {last}: bounds are cumulative, so they must not fall")
        last = rule.upto


def _check_names(waves: Iterable[Wave]) -> None:
    names: set[str] = set()
    for wave in waves:
        if wave.name in names:
            raise UsageError(f"rollout.waves: two waves are named {wave.name}")
        names.add(wave.name)
