"""`orchestrator plan`: what would be sent, how long it takes and which rule makes it take that long."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import click

from orchestrator.app import curl
from orchestrator.app.build_times import times, times_in
from orchestrator.app.context import Session, run_async
from orchestrator.app.load_plan import Source, plan_of, source_flags
from orchestrator.app.machine import Machine
from orchestrator.app.rehearse import invented_plan
from orchestrator.cli.concurrency import brake_json, brake_lines
from orchestrator.cli.flags import PACE, PICK, SHOW, Flags, common
from orchestrator.cli.forecasting import account_json, forecast_json, forecast_kept, forecast_lines
from orchestrator.cli.output import tell
from orchestrator.cli.prompts import foreign_hosts, token_commands
from orchestrator.core.events import to_json
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Json, Plan, Target
from orchestrator.forecast import Forecast, Times, forecast
from orchestrator.forecast.advice import length
from orchestrator.journal.port import Journal
from orchestrator.manifest import Manifest
from orchestrator.providers import registry
from orchestrator.report.words import counted, plain

SCHEMA = "orchestrator.core.selection/1"
FORMATS = ("text", "json", "curl")
NAMED = 50
RUN = "RUN"  # stands for the run's id, which is not known yet


@click.command("plan", short_help="Show what a run would send.")
@source_flags
@click.option("--offline", is_flag=True, help="Ask no provider; what only one knows is left out.")
@common(PICK, PACE, SHOW)
def command(
    flags: Flags, machine: Machine, manifest: str | None, repos: tuple[str, ...], lines: str | None, offline: bool
) -> int:
    """Show the targets of MANIFEST, the calls, how long it takes and which rule makes it take that long; sends nothing.

    -o json for programs, -o curl for a shell.
    """
    return show(Source(manifest, repos, lines), flags, machine, offline=offline)


def show(source: Source, flags: Flags, machine: Machine, *, offline: bool) -> int:
    """Prints the plan in the format that the flags ask for."""
    form = flags.stdout_format("text", FORMATS)
    plan, manifest, curls, known = run_async(lambda: _planned(source, flags, machine, form, offline))
    cast = forecast_of(plan, flags, machine, known)
    if form == "curl":
        tell("\n".join(curls))
    elif form == "json":
        tell(json.dumps(_as_json(plan, cast, machine.now()), indent=1, ensure_ascii=False))
    else:
        tell("\n".join(_as_text(plan, cast, manifest, flags, machine.now())))
    return Exit.OK


async def _planned(
    source: Source, flags: Flags, machine: Machine, form: str, offline: bool
) -> tuple[Plan, Manifest | None, list[str], Times]:
    if flags.sandbox:
        plan, manifest = await invented_plan(source, flags, machine, RUN)
    else:
        session = None if offline else Session(flags, machine)
        plan, manifest = await plan_of(source, flags, machine, RUN, session)
    curls = await curl.lines(plan) if form == "curl" else []
    return plan, manifest, curls, await times(flags, machine, plan.name)


def forecast_of(plan: Plan, flags: Flags, machine: Machine, known: Times, *, advise: bool = True) -> Forecast:
    """The forecast of a run that starts now."""
    if flags.ignore_quiet_hours or flags.sandbox:  # as the run will do
        loud = {name: replace(one, brake=replace(one.brake, quiet=())) for name, one in plan.accounts.items()}
        plan = replace(plan, accounts=loud)
    declarations = {account.type: registry.declaration(account.type) for account in plan.accounts.values()}
    return forecast(plan, declarations, flags.in_flight, start=machine.now(), times=known, advise=advise)


async def forecast_at_start(plan: Plan, journal: Journal, flags: Flags, machine: Machine) -> Mapping[str, Json]:
    """What a run of the plan keeps of its forecast, for the report to compare with what happens."""
    known = await times_in(journal, plan.name, flags)
    return forecast_kept(forecast_of(plan, flags, machine, known, advise=False))


def warnings_of(plan: Plan, cast: Forecast) -> list[str]:
    """Everything that a person should know before the start, each sentence once."""
    accounts = [
        f"account {name}: {warning}"
        for name, account in plan.accounts.items()
        for warning in registry.declaration(account.type).warn_account(account)
    ]
    hosts = [f"account {name} sends its token to {host}" for name, host in foreign_hosts(plan)]
    programs = [f"a program is run to get a token: {command}" for command in token_commands(plan)]
    return list(dict.fromkeys([*hosts, *programs, *accounts, *plan.warnings, *cast.warnings]))


def _as_text(plan: Plan, cast: Forecast, manifest: Manifest | None, flags: Flags, now: float) -> Iterator[str]:
    skipped = sum(target.skip is not None for target in plan.targets)
    repos = len({(target.account, target.repo.casefold()) for target in plan.targets})
    where = "1 repository" if repos == 1 else f"{repos:,} repositories"
    left_out = f", {skipped:,} skipped" if skipped else ""
    yield f"{plain(plan.name)}: {counted(len(plan.targets), 'target')} in {where}{left_out}"
    yield from forecast_lines(cast)
    yield from _waves(plan)
    yield ""
    yield from _accounts(plan, cast, now)
    shown = plan.targets if flags.verbose else plan.targets[:NAMED]
    yield ""
    yield from (_line(target) for target in shown)
    if len(shown) < len(plan.targets):
        yield f"  ... and {len(plan.targets) - len(shown):,} more (-v lists all)"
    warnings = [f"warning: {plain(warning)}" for warning in warnings_of(plan, cast)]
    refused = [f"`run` will refuse: {plain(key)}" for key in (manifest.unsupported if manifest is not None else ())]
    if warnings or refused:
        yield from ("", *warnings, *refused)


def _waves(plan: Plan) -> Iterator[str]:
    waves = Counter(target.wave for target in plan.targets)
    if len(waves) > 1:
        yield "waves: " + ", ".join(f"{wave}: {counted(waves[wave], 'target')}" for wave in sorted(waves))


def _accounts(plan: Plan, cast: Forecast, now: float) -> Iterator[str]:
    for name, account in plan.accounts.items():
        limits = ", ".join(str(limit) for limit in account.limits)
        yield f"account {name}: {account.type} at {account.url}, token {account.token or 'as the provider has it'}"
        yield f"  limits: {limits}; {account.connections} connections" + (
            f"; in flight {account.in_flight}" if account.in_flight else ""
        )
        yield from (f"  {plain(line)}" for line in brake_lines(account, now))
        one = cast.accounts.get(name)
        if one is not None:
            last = f"last trigger after {length(one.last_trigger)}"
            bound = one.binding
            binding = (
                f"; binding: {plain(bound.rule + bound.whom)}" if bound is not None else "; no limit makes it wait"
            )
            yield f"  calls: {counted(one.triggers, 'trigger')}, about {counted(one.looks, 'look')}; {last}{binding}"


def _line(target: Target) -> str:
    skip = f"  skipped: {plain(target.skip)}" if target.skip is not None else ""
    needs = f"  needs {', '.join(target.needs[:3])}" + ("..." if len(target.needs) > 3 else "") if target.needs else ""
    return f"  {plain(target.id)}{needs}{skip}"


def _as_json(plan: Plan, cast: Forecast, now: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "manifest": plan.manifest,
        "digest": plan.digest,
        "params": dict(plan.params),
        "targets": [_target(target) for target in plan.targets],
        "accounts": {name: _account(account, cast, now) for name, account in plan.accounts.items()},
        "forecast": forecast_json(cast),
        "warnings": warnings_of(plan, cast),
    }


def _target(target: Target) -> Mapping[str, Any]:
    return {
        "id": target.id,
        "account": target.account,
        "repo": target.repo,
        "branch": target.branch,
        "matrix": dict(target.matrix),
        "name": target.name,
        "labels": list(target.labels),
        "wave": target.wave,
        "needs": list(target.needs),
        "skip": target.skip,
        "marked": target.marked,
        "request": to_json(target.request),
        "where": target.where,
    }


def _account(account: Account, cast: Forecast, now: float) -> Mapping[str, Any]:
    one = cast.accounts.get(account.name)
    return {
        "type": account.type,
        "url": account.url,
        "token": account.token,
        "limits": [str(limit) for limit in account.limits],
        "connections": account.connections,
        "in_flight": account.in_flight,
        **brake_json(account, now),
        **account_json(one),
    }
