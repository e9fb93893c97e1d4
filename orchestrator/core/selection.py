"""Which targets of a plan are meant, by globs and labels; other limits for its accounts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from orchestrator.core.concurrency import part
from orchestrator.core.errors import NotStarted, UsageError, near
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.globs import expression
from orchestrator.core.model import Account, Expect, Limit, Plan, Target
from orchestrator.core.times import parse_limit

_NAMED = 5  # targets that a warning names
_LOOKED_AT = 20_000  # targets among which a near miss is looked for


class Selection(Struct, frozen=True):
    """Which targets of a plan are meant; empty means all.

    Args:
        only: globs on repo, `repo@branch` or id; one must match.
        exclude: globs; none may match.
        labels: groups of labels: all labels of one of the groups must be there.
        first: how many at most, in order.
    """

    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    labels: Sequence[Sequence[str]] = ()
    first: int | None = None


EVERYTHING = Selection()


def select(plan: Plan, selection: Selection, expect: Expect | None = None) -> Plan:
    """The plan with only the targets that are meant.

    Args:
        expect: the manifest's: `min` and `max` are compared before the selection, `max` again after it.

    Raises:
        NotStarted: nothing is left, or there are fewer or more targets than expected.
    """
    least, most = (expect.min, expect.max) if expect is not None else (None, None)
    _expected(len(plan.targets), least, most)
    if not plan.targets:
        raise NotStarted("the manifest has no targets; nothing was started")
    meant = some(plan.targets, selection, "; nothing was started")
    _expected(len(meant), None, most)
    idle = [glob for glob in selection.only if not any(map(_matcher(glob), meant))] if len(selection.only) > 1 else ()
    warnings = tuple(f"--only {glob} selects nothing{near_target(glob, plan.targets)}" for glob in idle)
    return _with_needs_met(replace(plan, warnings=plan.warnings + warnings) if warnings else plan, meant)


def chosen(targets: Sequence[Target], selection: Selection) -> Sequence[Target]:
    """Those of a plan, or of a run that was made before, that are meant; in their order, perhaps none."""
    if selection == EVERYTHING:
        return targets
    asked = _Compiled.of(selection)
    return [target for target in targets if _is_meant(target, asked)][: selection.first]


def some(targets: Sequence[Target], selection: Selection, so: str = "") -> Sequence[Target]:
    """As `chosen`.

    Args:
        so: what did not happen, for the message.

    Raises:
        NotStarted: none is.
    """
    if not (found := chosen(targets, selection)):
        raise NotStarted(nothing(targets, selection) + so)
    return found


def _expected(count: int, least: int | None, most: int | None) -> None:
    if least is not None and count < least:
        raise NotStarted(
            f"{count} targets, and the manifest expects at least {least} (expect.min); nothing was started"
        )
    if most is not None and count > most:
        raise NotStarted(f"{count} targets, and the manifest expects at most {most} (expect.max); nothing was started")


def nothing(targets: Sequence[Target], selection: Selection) -> str:
    """That none of the targets is meant, and what comes near."""
    asked = [
        *(f"--only {glob}" for glob in selection.only),
        *(f"--exclude {glob}" for glob in selection.exclude),
        *(f"--label {','.join(labels)}" for labels in selection.labels),
        *([] if selection.first is None else [f"--first {selection.first}"]),
    ]
    known = sorted({label for target in targets for label in target.labels})
    labels = f"; known labels: {', '.join(known[:20])}" if selection.labels and known else ""
    hint = next(filter(None, (near_target(glob, targets) for glob in selection.only)), "")
    return f"none of {len(targets)} targets is selected by {' '.join(asked)}{hint}{labels}"


def near_target(glob: str, targets: Sequence[Target]) -> str:
    """What may have been meant by a glob that matches nothing: a glob is compared with whole repositories."""
    names = {target.repo.rpartition("/")[2].casefold(): target.repo for target in targets[:_LOOKED_AT]}
    repo, at, branch = glob.partition("@")
    if (found := names.get(repo.casefold())) is None:
        from difflib import get_close_matches  # only when something is wrong

        names |= {target.repo.casefold(): target.repo for target in targets[:_LOOKED_AT]}
        near = get_close_matches(repo.casefold(), names, n=1, cutoff=0.7)
        found = names[near[0]] if near else None
    if found is None:
        return ""
    branches = {target.branch for target in targets if target.repo == found and target.branch is not None}
    return f"; did you mean {found}{at}{branch if not at or branch in branches else min(branches, default=branch)}?"


class _Compiled(Struct, frozen=True):
    only: Sequence[Callable[[Target], bool]]
    exclude: Sequence[Callable[[Target], bool]]
    labels: Sequence[frozenset[str]]

    @classmethod
    def of(cls, selection: Selection) -> _Compiled:
        groups = [frozenset(label.strip() for label in labels if label.strip()) for labels in selection.labels]
        return cls([_matcher(glob) for glob in selection.only], [_matcher(glob) for glob in selection.exclude], groups)


def _is_meant(target: Target, asked: _Compiled) -> bool:
    if asked.only and not any(matches(target) for matches in asked.only):
        return False
    if any(matches(target) for matches in asked.exclude):
        return False
    return not asked.labels or any(labels <= set(target.labels) for labels in asked.labels)


def _matcher(glob: str) -> Callable[[Target], bool]:
    """Matches repo, `repo@branch` or id; case matters in branches only."""
    repo, at, rest = glob.partition("@")
    shape = re.compile(f"(?is:{expression(repo)})" + (f"(?s:@{expression(rest)})" if at else ""))

    def matches(target: Target) -> bool:
        texts = [target.repo, target.id, target.id.partition(":")[2].partition("#")[0]]
        if target.branch is not None:
            texts.append(f"{target.repo}@{target.branch}")
        return any(shape.fullmatch(text) for text in texts)

    return matches


def _with_needs_met(plan: Plan, chosen: Sequence[Target]) -> Plan:
    """Needs that were not selected count as met, and a warning says so."""
    ids = {target.id for target in chosen}
    met: dict[str, str] = {}
    targets = []
    for target in chosen:
        left = tuple(need for need in target.needs if need in ids)
        met |= {need: target.id for need in target.needs if need not in ids}
        targets.append(target if left == target.needs else replace(target, needs=left))
    warnings = plan.warnings
    if met:
        named = ", ".join(f"{need} (needed by {by})" for need, by in list(met.items())[:_NAMED])
        more = f" and {len(met) - _NAMED} more" if len(met) > _NAMED else ""
        warnings = (*warnings, f"needs that are not selected count as met: {named}{more}")
    return replace(plan, targets=tuple(targets), warnings=warnings)


def override_limits(plan: Plan, rates: Mapping[str | None, str]) -> Plan:
    """The plan with another limit of triggers for an account, as `--rate` says.

    Args:
        rates: `40/30s` by account; None means the only account, or all of them.

    Raises:
        UsageError: no such account, or no limit.
    """
    accounts = dict(plan.accounts)
    for name, text in rates.items():
        if name is not None and name not in accounts:
            raise UsageError(f"--rate {name}={text}: unknown account; {near(name, accounts)}")
        try:
            calls, per = parse_limit(text)
        except ValueError as error:
            raise UsageError(f"--rate {text}: {error}") from None
        for account in [name] if name is not None else list(accounts):
            accounts[account] = _with_rate(accounts[account], calls, per)
    return replace(plan, accounts=accounts)


def raised(account: Account, defaults: Sequence[Limit]) -> list[str]:
    """A sentence for each limit of the account that is above the provider's default."""
    slowest: dict[str, Limit] = {}  # of the rules of a kind the one that binds in the long run
    for limit in account.limits:
        known = slowest.setdefault(limit.kind, limit)
        slowest[limit.kind] = min(known, limit, key=lambda one: one.calls / one.per)
    return [
        f"account {account.name}: the limit {written} is above the provider's default {default}; "
        "the provider may refuse calls, or ban the token"
        for default in defaults
        if (written := slowest.get(default.kind)) is not None
        and written.calls / written.per > part(default.calls, limit.share) / default.per
    ]


def _with_rate(account: Account, calls: int, per: float) -> Account:
    """Replaces the limit `triggers`, or the first that is not counted by repository, where there is no such name.

    The share of the account's rates that is this machine's holds for the new one too.
    """
    found = {limit.name: limit for limit in account.limits if limit.scope != "repo"}
    name = "triggers" if "triggers" in found or not found else next(iter(found))
    old = found.get(name, Limit(name, calls, per))
    written = replace(old, calls=part(calls, old.share), per=per, written=True)
    if name not in found:
        return replace(account, limits=(written, *account.limits))
    others = [limit for limit in account.limits if limit.kind != written.kind or limit.name == name]
    return replace(account, limits=tuple(written if limit.name == name else limit for limit in others))
