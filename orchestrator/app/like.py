"""What an earlier run says of the targets of a list: message, env, config, account and the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from orchestrator.app.context import Context, readable
from orchestrator.app.which import named
from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.history import History, accounts_in
from orchestrator.core.model import Json, Plan, Target
from orchestrator.core.times import counted
from orchestrator.journal.history import load
from orchestrator.journal.port import Journal

OWN = frozenset({"sha", "tag_name"})  # what is of one target alone, even where all say the same


async def like(plan: Plan, run: str, context: Context, journal: Journal | None = None) -> Plan:
    """The plan of a list with what an earlier run asked for each of its targets.

    A line that the run had, without account, matrix and name, stands for all of its targets of that repository and
    branch. Another one takes what is common to all targets of the run.

    Raises:
        UsageError: there is no such run, or it cannot tell for which account a line is.
    """
    if journal is None:
        async with readable(context, run) as state:
            return await like(plan, run, context, state)
    row = await named(journal, run)
    history = await load(journal, row.id)
    if history.made is None or history.options.sandbox != context.sandbox:
        raise UsageError(f"--like {run}: a rehearsal and a run against the service are not alike; name another run")
    known: defaultdict[tuple[str, str | None], list[Target]] = defaultdict(list)
    for target in history.targets:
        known[_form(target)].append(target)
    unknown = [target for target in plan.targets if _form(target) not in known]
    common = _common(history.targets) if unknown else {}
    found: dict[str, Target] = {}
    for target in plan.targets:
        for one in known.get(_form(target)) or [_taken(target, history, common, run)]:
            found[one.id] = one
    told = [f"{counted(len(unknown), 'line')} not in run {row.id}: taken as all of its targets are"] if unknown else []
    return replace(
        plan,
        name=history.made.name,
        targets=tuple(
            replace(target, needs=tuple(need for need in target.needs if need in found)) for target in found.values()
        ),
        accounts=accounts_in(history.made),
        fail_on=history.options.failures,
        warnings=(*plan.warnings, *told),
    )


def _form(target: Target) -> tuple[str, str | None]:
    return target.repo.casefold(), target.branch


def _common(targets: Sequence[Target]) -> Mapping[str, Json]:
    """What all of the targets ask for alike."""
    first = targets[0].request
    return {key: it for key, it in first.items() if key not in OWN and all(t.request.get(key) == it for t in targets)}


def _taken(target: Target, history: History, common: Mapping[str, Json], run: str) -> Target:
    accounts = {one.account for one in history.targets}
    if len(accounts) > 1:
        raise UsageError(
            f"--like {run}: {target.repo} is not in that run, and its targets are on several accounts "
            f"({', '.join(sorted(accounts))}); leave the line out, or put it into a manifest"
        )
    (account,) = accounts
    one = history.targets[0]
    return replace(
        target,
        id=account + target.id.removeprefix(target.account),
        account=account,
        marked=one.marked if all(other.marked == one.marked for other in history.targets) else True,
        timeouts=one.timeouts if all(other.timeouts == one.timeouts for other in history.targets) else target.timeouts,
        request={**common, **target.request},
    )
