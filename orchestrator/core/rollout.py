"""Rollouts: how the targets of a run are cut into waves, and which of them may be sent before which.

Everything here is a plain function over values, asked by `plan`, by the coordinator and by the report alike.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.model import Target
from orchestrator.core.waves import FASTEST, REST, SHUFFLE, SLOWEST, Rollout, Wave, WaveRule


class Cut(Struct, frozen=True):
    """A plan cut into waves.

    Args:
        targets: in the order of triggering, each with the number of its wave; what is skipped stands in wave 1.
        drawn: ids of those that stand in a wave by labels only because one with its labels needs them.
        empty: names of waves by labels that are left without targets.
    """

    targets: Sequence[Target]
    waves: Sequence[Wave]
    drawn: Sequence[str] = ()
    empty: Sequence[str] = ()


def cut(targets: Sequence[Target], rollout: Rollout, run: str, seconds: Mapping[str, float]) -> Cut:
    """Orders targets and cuts them into waves.

    Args:
        targets: the selected ones, in plan order.
        run: the run's id, by which `shuffle` shuffles.
        seconds: by id, how long the builds of targets with a history take.

    Raises:
        UsageError: two waves have one name.
    """
    counted = [target for target in targets if target.skip is None]
    rest = behind_needs(_in_order(counted, rollout.order, run, seconds))
    waves: list[Wave] = []
    sent: list[Target] = []
    drawn: list[str] = []
    empty: list[str] = []
    for rule in (*(rollout.waves or (WaveRule("100%"),)), WaveRule("100%", name=REST)):
        if rule.labels:
            taken, rest, forward = _labelled(rule, rest)
            drawn += forward
        else:
            bound = max(_bound(rule.upto, len(counted)), len(sent) + 1) - len(sent)
            taken, rest = rest[:bound], rest[bound:]
        if taken:
            number = len(waves) + 1
            waves.append(_wave(rule, rollout, number, len(taken)))
            sent += [target if target.wave == number else replace(target, wave=number) for target in taken]
        elif rule.labels:
            empty.append(rule.name or ",".join(rule.labels))
    _check_names(waves)
    rest = [target if target.wave == 1 else replace(target, wave=1) for target in targets if target.skip is not None]
    return Cut([*sent, *rest], _without_end(waves), drawn, empty)


def _wave(rule: WaveRule, rollout: Rollout, number: int, targets: int) -> Wave:
    approve = rollout.approve if rule.approve is None else rule.approve
    soak = rollout.soak if rule.soak is None else rule.soak
    return Wave(number, rule.name or str(number), targets, approve, soak)


def turns(targets: Sequence[Target]) -> Sequence[int]:
    """The rows of a plan in the order in which they take their turns where several may be triggered.

    First comes what the longest chain of builds of the same wave begins with, since that chain decides when the wave
    ends; among equals, and where nothing is needed, the order of the plan holds.
    """
    if not any(target.needs for target in targets):
        return range(len(targets))
    chains = _chains(targets)
    return sorted(range(len(targets)), key=lambda row: -chains[row])


def _chains(targets: Sequence[Target]) -> Sequence[float]:
    """By row, how many seconds the longest chain takes that begins with it, in its wave.

    Where nothing is known of how long builds take, all take equally long.
    """
    rows = {target.id: row for row, target in enumerate(targets)}
    needs = [[rows[need] for need in set(target.needs) if need in rows] for target in targets]
    known = [target.seconds for target in targets if target.seconds]
    usual = statistics.median(known) if known else 1.0
    waiting = [0] * len(targets)  # those that need it, and whose own chain is not known
    for found in needs:
        for need in found:
            waiting[need] += 1
    after = [0.0] * len(targets)  # the longest chain of those that need it
    todo = [row for row, count in enumerate(waiting) if not count]
    chains = [0.0] * len(targets)
    while todo:
        row = todo.pop()
        chains[row] = after[row] + (targets[row].seconds or usual)
        for need in needs[row]:
            if targets[need].wave == targets[row].wave:
                after[need] = max(after[need], chains[row])
            waiting[need] -= 1
            if not waiting[need]:
                todo.append(need)
    return chains


def recounted(targets: Sequence[Target], waves: Sequence[Wave]) -> tuple[Sequence[Target], Sequence[Wave]]:
    """Targets and waves after some targets were left out: an empty wave falls away, numbers run on without it."""
    counts = Counter(target.wave for target in targets if target.skip is None)
    kept = [wave for wave in waves if counts[wave.number]]
    numbers = {wave.number: number for number, wave in enumerate(kept, 1)}
    fitted = [
        replace(wave, number=number, targets=counts[wave.number], name=str(number) if wave.is_unnamed else wave.name)
        for number, wave in enumerate(kept, 1)
    ]
    return [replace(target, wave=numbers.get(target.wave, 1)) for target in targets], _without_end(fitted)


def _without_end(waves: list[Wave]) -> Sequence[Wave]:
    """Nothing waits behind the last one."""
    return [*waves[:-1], replace(waves[-1], approve=False, soak=0.0)] if waves else []


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


def _labelled(rule: WaveRule, rest: Sequence[Target]) -> tuple[Sequence[Target], Sequence[Target], Sequence[str]]:
    """The targets of a wave by labels, all others, and the ids of those in the wave that were only drawn forward."""
    labelled = {target.id for target in rest if set(rule.labels).issubset(target.labels)}
    wanted = _with_needs(labelled, rest)
    taken = [target for target in rest if target.id in wanted]
    drawn = [target.id for target in taken if target.id not in labelled]
    return taken, [target for target in rest if target.id not in wanted], drawn


def _with_needs(wanted: Collection[str], rest: Iterable[Target]) -> set[str]:
    """These ids, and those of all that they need."""
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


def falls(before: str, after: str) -> bool:
    """Whether a bound is below the one before it, whatever the number of targets: both are numbers, or both shares."""
    if before.endswith("%") != after.endswith("%"):
        return False
    return Fraction(after.rstrip("%")) < Fraction(before.rstrip("%"))


def _check_names(waves: Iterable[Wave]) -> None:
    names: set[str] = set()
    for wave in waves:
        if wave.name in names:
            raise UsageError(f"rollout.waves: two waves are named {wave.name}")
        names.add(wave.name)
