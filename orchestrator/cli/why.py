"""`orchestrator why`: the chain of events of one target, and the rule that it waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click

from orchestrator.app.build_times import times_in
from orchestrator.app.context import run_async
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import latest, readable
from orchestrator.cli.flags import SHOW, Flags, common
from orchestrator.cli.output import tell
from orchestrator.cli.reading import code_of, exit_status
from orchestrator.core.errors import UsageError
from orchestrator.core.events import from_json
from orchestrator.core.history import History
from orchestrator.core.model import Account, Phase, Target
from orchestrator.forecast import Expected, expected
from orchestrator.journal.port import Entry, Journal
from orchestrator.providers import registry
from orchestrator.report.reasons import unmet_needs
from orchestrator.report.view import view
from orchestrator.report.why import explain, explain_json
from orchestrator.report.words import clock, counted, duration

NAMED = 20


@click.command("why", short_help="Tell what happened to one target.")
@click.argument("words", nargs=-1, required=True, metavar="[RUN] TARGET")
@exit_status
@common(SHOW)
def command(flags: Flags, machine: Machine, words: tuple[str, ...], exit_status: bool) -> int:
    """Tell what happened to TARGET in RUN (by default the latest), and what it waits for.

    TARGET is an id as reports have it, or repo@branch, or a repo.
    """
    if len(words) > 2:
        raise UsageError(f"why: expected [RUN] TARGET, found {len(words)} words; quote ids that hold spaces")
    form = flags.stdout_format("text", ("text", "json"))
    if any(output.file is not None for output in flags.outputs):
        raise UsageError("-o FORMAT=FILE: why writes to stdout; redirect it, as in `orchestrator why ... > FILE`")
    run, name = (words[0], words[1]) if len(words) == 2 else (None, words[0])

    async def explained() -> tuple[str, int]:
        async with readable(flags, machine, run) as journal:
            row = await latest(journal, run)
            history, entries = await _read(journal, row.id)
            target, now = the_one(history.targets, name), machine.now()
            foreseen = [] if not _may_come(history, target) else await _foreseen(journal, flags, history, target, now)
        if form == "json":
            text = json.dumps(explain_json(target, entries, history, now, row.id, foreseen, flags.behind), indent=2)
        else:
            text = "\n".join(explain(target, entries, history, now, row.id, foreseen, flags.behind))
        return text, int(code_of(view(row.id, history, machine.now()), exit_status))

    text, code = run_async(explained)
    tell(text)
    return code


def _may_come(history: History, target: Target) -> bool:
    """Whether somebody drives the run and may still trigger the target."""
    is_waiting = history.of(target.id).phase is Phase.WAITING and not history.of(target.id).may_exist
    is_stopped = history.stopped is not None or target.account in history.accounts_stopped
    return is_waiting and not is_stopped and history.left_at is None


async def _foreseen(journal: Journal, flags: Flags, history: History, target: Target, now: float) -> list[str]:
    """The limits that hold a waiting target back and when it is expected to be triggered, a line each."""
    made = history.made
    assert made is not None  # noqa: S101  # a run that exists has been made
    types = {from_json(Account, account).type for account in made.accounts.values()}
    declarations = {name: registry.declaration(name) for name in types}
    found = expected(history, target, declarations, now, await times_in(journal, made.name, flags))
    return list(foreseen_lines(found, now, has_needs=any(unmet_needs(history, target))))


def foreseen_lines(found: Expected, now: float, *, has_needs: bool) -> Iterator[str]:
    """The same in words.

    Args:
        has_needs: whether other targets must pass first.
    """
    for one in found.waits:
        others = "it is the next" if not one.before else f"before it {counted(one.before, 'other')}"
        yield f"waits for {one.rule} {one.whom}: next at {clock(one.next_at)}; {others}"
    if found.at is None:
        return
    needs = ", if all that it needs passes" if has_needs else ""
    yield f"expected at about {clock(found.at)} (in {duration(max(0.0, found.at - now))}){needs}"


async def _read(journal: Journal, run: str) -> tuple[History, list[Entry]]:
    history = History(await journal.targets(run))
    entries: list[Entry] = []
    while batch := await journal.read(run, history.cursor):
        for entry in batch:
            history.add(entry.account, entry.seq, entry.at, entry.event)
        entries.extend(batch)
    return history, entries


def the_one(targets: Sequence[Target], name: str) -> Target:
    """The target that a person means.

    Raises:
        UsageError: none, or several.
    """
    wanted = name.casefold()
    for names_of in (_ids, _refs, _repos):
        found = [target for target in targets if wanted in names_of(target)]
        if len(found) == 1:
            return found[0]
        if found:
            shown = "\n".join(f"  {target.id}" for target in found[:NAMED])
            more = f"\n  ... and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
            raise UsageError(f"{len(found)} targets are called {name!r}; say which:\n{shown}{more}")
    from difflib import get_close_matches

    near = get_close_matches(name, [target.id for target in targets[:5000]], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; `orchestrator report -o csv` lists them"
    raise UsageError(f"this run has no target {name!r}{hint}")


def _ids(target: Target) -> tuple[str, ...]:
    return (target.id.casefold(),)


def _refs(target: Target) -> tuple[str, ...]:
    return (target.id.partition(":")[2].casefold(), f"{target.repo}@{target.branch}".casefold())


def _repos(target: Target) -> tuple[str, ...]:
    repo = target.repo.casefold()
    return (repo, f"{target.account}:{repo}", repo.rpartition("/")[2])
