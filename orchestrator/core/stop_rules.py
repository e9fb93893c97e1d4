"""The rules that stop a run, one function each, over what has been counted so far.

Engine, `plan`, `why` and reports ask these and nothing else: each gives whether it holds, whether it has its sample,
and its arithmetic in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache

from orchestrator.core.evidence import NEEDED, Block
from orchestrator.core.frozen import Struct
from orchestrator.core.times import counted
from orchestrator.core.waves import StopWhen

FAILED, IN_A_ROW, WORSE, MAX_FAIL = "failed", "in_a_row", "worse_than_usual", "max_fail"
NOTHING_PASSED, NEEDS = "nothing_passed", "needs_not_passed"


class Rules(Struct, frozen=True):
    """The rules as they are written.

    Args:
        when: those of the rollout.
        max_fail: `--max-fail`: a number, or a share of all selected targets.
    """

    when: StopWhen = StopWhen()
    max_fail: str | None = None


class Counts(Struct, frozen=True):
    """What the rules see at one instant. Skipped targets, and those that are settled as in doubt, are in no number.

    Args:
        targets: all that were selected.
        sent: a request exists or may exist, or it was refused.
        settled: with an outcome, and no rerun of it to come.
        bad: those of them that did not pass.
        in_a_row: the longest row of bad targets, in the order of ending.
        blocks: each block in force, with its bad targets.
        unknown: a service of the run of which too few outcomes are known; empty where there is none.
        has_block: whether all targets of some block are settled.
    """

    targets: int = 0
    sent: int = 0
    settled: int = 0
    bad: int = 0
    in_a_row: int = 0
    blocks: Sequence[tuple[Block, int]] = ()
    unknown: str = ""
    has_block: bool = False


class Look(Struct, frozen=True):
    """What a rule says of the counts.

    Args:
        holds: whether it stops the run.
        is_sure: whether it has seen enough to say so.
    """

    rule: str
    holds: bool
    is_sure: bool
    arithmetic: str


def failed(rules: Rules, counts: Counts) -> Look | None:
    """So many bad targets, or so large a share of those sent; None where it is not written."""
    when = rules.when
    if not when.failed:
        return None
    if not when.failed.endswith("%"):
        return Look(FAILED, counts.bad >= int(when.failed), True, f"{counts.bad:,} bad, {when.failed} stop the run")
    is_sure = counts.settled >= when.after
    share = _share(when.failed)
    holds = is_sure and counts.bad > 0 and counts.bad >= share * counts.sent
    percent = f" ({100 * counts.bad / counts.sent:.1f} %)" if counts.sent else ""
    early = "" if is_sure else f", once {when.after:,} are settled (now {counts.settled:,})"
    text = f"{counts.bad:,} bad of {counts.sent:,} sent{percent}, {when.failed} stop the run{early}"
    return Look(FAILED, holds, is_sure, text)


@cache
def _share(text: str) -> Fraction:
    return Fraction(text[:-1]) / 100


def in_a_row(rules: Rules, counts: Counts) -> Look | None:
    """So many bad targets, one after the other; None where it is not written."""
    most = rules.when.in_a_row
    if most is None:
        return None
    text = f"{counts.in_a_row:,} bad in a row, {most:,} stop the run"
    return Look(IN_A_ROW, counts.in_a_row >= most, counts.settled >= most, text)


def worse_than_usual(rules: Rules, counts: Counts) -> Look | None:
    """More bad targets among the first ones than is usual; None where it is not written."""
    alpha = rules.when.worse_than_usual
    if alpha is None:
        return None
    over = next(((block, bad) for block, bad in counts.blocks if bad >= block.stop_at), None)
    if over is None and counts.unknown:
        text = f"it does not act: fewer than {NEEDED} earlier outcomes are known of {counts.unknown}"
        return Look(WORSE, False, False, text)
    shown = over or next(reversed(counts.blocks), None)
    if shown is None:
        return Look(WORSE, False, counts.has_block, "no number of failures so far would be more than chance")
    block, bad = shown
    text = (
        f"{bad:,} of the first {block.targets:,} bad, {block.stop_at:,} stop the run; a rollout that fails as usual "
        f"is stopped with a chance of at most {alpha:g}"
    )
    return Look(WORSE, over is not None, over is not None or counts.has_block, text)


def max_fail(rules: Rules, counts: Counts) -> Look | None:
    """So many bad targets, or so large a share of all; None where it was not asked for."""
    if rules.max_fail is None:
        return None
    allowed = allowed_failures(rules.max_fail, counts.targets)
    text = f"{counts.bad:,} of {counts.targets:,} targets did not pass; {allowed:,} stop the run"
    return Look(MAX_FAIL, counts.bad >= allowed, True, text)


RULES: Sequence[Callable[[Rules, Counts], Look | None]] = (failed, in_a_row, worse_than_usual, max_fail)
"""In the order in which they are asked."""


def looks(rules: Rules, counts: Counts) -> Iterator[Look]:
    """What each rule that is written says."""
    return (look for rule in RULES if (look := rule(rules, counts)) is not None)


def nothing_passed(rules: Rules, sent: int, passed: int, usual: int) -> Look:
    """Nothing of a wave passed before which another one waits.

    Args:
        sent: targets of the wave that were sent, in doubt or not.
        passed: those of them that passed.
        usual: those of them of which nothing else is known, where it is known how targets usually fare.
    """
    holds = rules.when.nothing_passed and sent > 0 and not passed and usual < sent
    return Look(NOTHING_PASSED, holds, True, f"none of {counted(sent, 'sent target')} of the wave passed")


def allowed_failures(rule: str, total: int) -> int:
    """The number of failures at which `--max-fail` stops a run of so many targets; at least one."""
    if rule.endswith("%"):
        return max(1, math.ceil(total * Fraction(rule[:-1]) / 100))
    return max(1, int(rule))
