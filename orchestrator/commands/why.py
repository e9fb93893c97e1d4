"""`orchestrator why`: the chain of events of one target, and the rule that it waits for."""

from __future__ import annotations

from collections.abc import Sequence

import click

from orchestrator.commands.flags import SHOW, Flags, common
from orchestrator.commands.machine import Machine
from orchestrator.commands.output import tell
from orchestrator.commands.reading import code_of, exit_status
from orchestrator.commands.session import run_async
from orchestrator.commands.state import latest, readable
from orchestrator.errors import UsageError
from orchestrator.history import History
from orchestrator.journal import Entry, Journal
from orchestrator.model import Target
from orchestrator.report.view import view
from orchestrator.report.why import explain

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
    run, name = (words[0], words[1]) if len(words) == 2 else (None, words[0])

    async def explained() -> tuple[list[str], int]:
        async with readable(flags, machine, run) as journal:
            row = await latest(journal, run)
            history, entries = await _read(journal, row.id)
        target = the_one(history.targets, name)
        lines = explain(target, entries, history, machine.now(), row.id)
        return lines, int(code_of(view(row.id, history, machine.now()), exit_status))

    lines, code = run_async(explained)
    tell("\n".join(lines))
    return code


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
