"""`orchestrator plan`: what would be sent, how long it takes and which rule makes it take that long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.app.ahead import looked_ahead
from orchestrator.app.lookups import times_of_state
from orchestrator.app.names import refuse_twins
from orchestrator.app.plan import Planned, Source, forecast_of, warnings_of
from orchestrator.app.plan import plan as planned_of
from orchestrator.app.rehearse import curl_lines
from orchestrator.app.waves import with_blocks
from orchestrator.cli.brief import brief, token_of
from orchestrator.cli.face import Face, verb
from orchestrator.cli.flags import OUTPUT, PACE, PARAMS, SELECT
from orchestrator.cli.help import Group, argument, option
from orchestrator.cli.plan_waves import wave_lines, waves_json
from orchestrator.core.concurrency import QueueRule, quiet_until
from orchestrator.core.errors import Exit
from orchestrator.core.events import to_json
from orchestrator.core.model import ACCOUNT, Account, Target
from orchestrator.core.times import clock, counted, period, rounded
from orchestrator.forecast import AccountForecast, Advice, Forecast, Use
from orchestrator.report.minutes import as_json as as_minutes
from orchestrator.report.minutes import line as minutes_line
from orchestrator.report.words import plain

FORMATS = ("text", "json", "curl")
MANIFEST = argument("manifest", "files", required=False)
SOURCE = (
    MANIFEST,
    option(
        "--repo",
        "repos",
        group=Group.WHAT,
        multiple=True,
        metavar="OWNER/NAME[@BRANCH]",
        completes="globs",
        help="A repository to build, without a manifest; repeatable.",
    ),
    option(
        "--from",
        "lines",
        group=Group.WHAT,
        metavar="FILE|-",
        completes="files",
        help="A list of targets, one a line, without a manifest (- for stdin).",
    ),
    option(
        "--like",
        group=Group.WHAT,
        metavar="RUN",
        completes="runs",
        help="For a list: message, env, config and account as in that run.",
    ),
)


@verb(
    *SOURCE,
    option("--offline", group=Group.SAFETY, is_flag=True, help="Ask no provider; what only one knows is left out."),
    flags=(*PARAMS, *SELECT, *PACE, *OUTPUT),
    formats=(),
    examples=(
        ("what orchestrator.yaml would send, and how long it takes", "orchestrator plan"),
        ("without asking anybody", "orchestrator plan --offline"),
        ("with another parameter, and builds bounded", "orchestrator plan -p image=ubuntu:26.04 -j 40"),
        ("the calls as a shell script, without the token", "orchestrator plan -o curl"),
    ),
)
async def plan(
    face: Face, manifest: str | None, repos: tuple[str, ...], lines: str | None, like: str | None, offline: bool
) -> Exit:
    """Show the targets of MANIFEST, the calls, how long it takes and which rule makes it take that long; sends nothing.

    -o json for programs, -o curl for a shell.
    """
    return await show(face, Source(manifest, repos, lines, like), offline=offline)


async def show(face: Face, source: Source, *, offline: bool) -> Exit:
    """Prints the plan in the format that the flags ask for."""
    face.check_formats(FORMATS)
    context = face.context
    planned = await planned_of(source, face.choices, context, offline=offline)
    if face.flags.stdout == "curl":
        face.tell("\n".join(await curl_lines(planned.plan)))
        return Exit.OK
    times = await times_of_state(context, planned.plan)
    logins: Mapping[str, str] = {}
    if not offline:
        await refuse_twins(planned.plan, context, shows_first=True)
        ahead = await looked_ahead(planned.plan, times, context)
        planned, times, logins = planned.warned(ahead.warnings), ahead.times, ahead.logins
    planned = await with_blocks(planned, context)
    cast = forecast_of(planned, times, context)
    if face.flags.stdout == "json":
        face.json(as_json(planned, cast, context.now()))
    else:
        face.tell_lines(as_text(planned, cast, context.now(), logins, shows_all=bool(face.flags.verbose)))
    return Exit.OK


SCHEMA = "orchestrator.plan/1"
NAMED = 50
SCARCE = 0.5  # a repository of whose limit more than this is left needs no mention

# -- for people -------------------------------------------------------------------------------------------------


def as_text(
    planned: Planned, cast: Forecast, now: float, logins: Mapping[str, str], *, shows_all: bool
) -> Iterator[str]:
    """The plan, a line each.

    Args:
        now: wall clock; tells whether it is quiet.
        logins: as of `brief`.
        shows_all: name every target, not only the first ones.
    """
    plan = planned.plan
    yield from brief(plan, cast, logins, now)
    yield ""
    yield from _forecast(cast)
    yield from wave_lines(planned, cast)
    yield ""
    for name, account in plan.accounts.items():
        yield from _account(name, account, cast.accounts.get(name), now)
    shown = plan.targets if shows_all else plan.targets[:NAMED]
    yield ""
    yield from (_target(target) for target in shown)
    if len(shown) < len(plan.targets):
        yield f"  ... and {len(plan.targets) - len(shown):,} more (-v lists all)"


def _forecast(cast: Forecast) -> Iterator[str]:
    """How the run will go, which rule binds when, what would help and what is left for people."""
    yield f"forecast: {plain(cast.text)}"
    if not cast.accounts:
        return
    slowest = max(cast.accounts.values(), key=lambda one: one.last_build, default=None)
    decides = f"; account {plain(slowest.account)} decides it" if slowest is not None and len(cast.accounts) > 1 else ""
    yield f"  last build: ends after about {rounded(cast.last_build)}{decides}"
    for name, one in cast.accounts.items():
        whose = f"account {plain(name)} " if len(cast.accounts) > 1 else ""
        if one.spans:
            spans = ", ".join(
                f"{each.rule}{each.subject} from {rounded(each.start)} to {rounded(each.end)}" for each in one.spans
            )
            yield f"  {whose}waits for: {plain(spans)}"
        yield f"  {whose}headroom: {plain('; '.join(_headroom(one))) or 'no limit to come near'}"
    yield from (f"  builds run: {line}" for line in minutes_line(cast.minutes, "about "))
    for advice in cast.advice:
        shorter = f"{rounded(advice.last_trigger)} instead of {rounded(cast.last_trigger)}"
        yield f"  suggestion: {plain(advice.what)}: {shorter} to the last trigger"
    yield from (f"  assumes: {plain(one)}" for one in cast.supposed)


def _headroom(one: AccountForecast) -> Iterator[str]:
    """The tightest limit of the account, and the repositories that the run takes more than half of."""
    whole = min((use for use in one.uses if use.limit.scope == ACCOUNT), key=lambda use: use.left, default=None)
    if whole is not None:
        part = f"{int(whole.left * 100)}% of {whole.limit}"
        yield f"{part} in the busiest hour ({whole.used:,} of {whole.allowed:,} are used)"
    for use in one.uses:
        if use.where is not None and use.left <= SCARCE:
            yield f"{use.where}: {_rest(use)} of {use.limit}"


def _rest(use: Use) -> str:
    left = max(0, use.allowed - use.used)
    return f"{left:,}" if left else "nothing"


def _account(name: str, account: Account, one: AccountForecast | None, now: float) -> Iterator[str]:
    limits = ", ".join(limit.told for limit in account.limits)
    yield f"account {name}: {account.type} at {account.url}, {token_of(account)}"
    yield f"  limits: {limits or 'none'}; {account.connections} connections" + (
        f"; in flight {account.in_flight}" if account.in_flight else ""
    )
    yield from (f"  {plain(line)}" for line in concurrency_lines(account, now))
    if one is not None:
        bound = one.binding
        binding = f"; binding: {plain(bound.rule + bound.subject)}" if bound is not None else "; no limit makes it wait"
        calls = f"{counted(one.triggers, 'trigger')}, about {counted(one.looks, 'look')}"
        yield f"  calls: {calls}; last trigger after {rounded(one.last_trigger)}{binding}"


def concurrency_lines(account: Account, now: float) -> Iterator[str]:
    """What holds the account's triggers back beside its rates; nothing where nothing does.

    Args:
        now: wall clock; tells whether it is quiet.
    """
    concurrency, share = account.concurrency, _share_of(account)
    if concurrency.caps:
        yield f"brake: {', '.join(str(cap) for cap in concurrency.caps)}"
    if concurrency.queue is not None:
        yield _queue(concurrency.queue)
    if concurrency.quiet:
        until, quiet = quiet_until(concurrency.quiet, now)
        goes_on = f"; it is quiet now: triggers go from {clock(until)} on" if quiet is not None else ""
        yield f"quiet hours: {', '.join(str(hours) for hours in concurrency.quiet)}{goes_on}"
    if share != 100:
        yield (
            f"share: {share}% of each rate, the rest is left to other machines; "
            "processes that share this state share the limits by themselves"
        )


def _queue(rule: QueueRule) -> str:
    reserve = f"; {rule.reserve} of these places are kept for other people" if rule.reserve else ""
    again = f"; if others make it longer, triggers go on below {rule.resume}" if rule.resume != rule.below else ""
    return (
        f"queue: triggers go while fewer than {rule.below} builds of the owner wait or run, whoever started them"
        f"{reserve}{again}; looked at every {period(rule.every)} while something waits for it"
    )


def _share_of(account: Account) -> int:
    """The percentage of each rate that this machine takes."""
    return min((limit.share for limit in account.limits), default=100)


def _target(target: Target) -> str:
    skip = f"  skipped: {plain(target.skip)}" if target.skip is not None else ""
    needs = f"  needs {', '.join(target.needs[:3])}" + ("..." if len(target.needs) > 3 else "") if target.needs else ""
    return f"  {plain(target.id)}{needs}{skip}"


# -- for programs -----------------------------------------------------------------------------------------------


def as_json(planned: Planned, cast: Forecast, now: float) -> dict[str, Any]:
    """The plan; `docs/forecast.md` describes it."""
    plan = planned.plan
    targets = [{name: getattr(target, name) for name in _TARGET} for target in plan.targets]
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "manifest": plan.manifest,
        "digest": plan.digest,
        "params": dict(plan.params),
        "targets": [
            {**row, "matrix": dict(row["matrix"]), "request": to_json(row["request"]), "reruns": row["reruns"].times}
            for row in targets
        ],
        "waves": waves_json(planned, cast),
        "accounts": {
            name: {
                **{name: getattr(account, name) for name in ("type", "url", "token", "connections", "in_flight")},
                "limits": [str(limit) for limit in account.limits],
                **concurrency_json(account, now),
                **_account_json(cast.accounts.get(name)),
            }
            for name, account in plan.accounts.items()
        },
        "forecast": _forecast_json(cast),
        "warnings": warnings_of(plan, cast.warnings),
    }


_TARGET = tuple(name for name in Target.__struct_fields__ if name != "timeouts")


def concurrency_json(account: Account, now: float) -> dict[str, Any]:
    """As `concurrency_lines`."""
    until, quiet = quiet_until(account.concurrency.quiet, now)
    return {
        "brake": to_json(account.concurrency),
        "quiet_until": clock(until) if quiet is not None else None,
        "share": _share_of(account),
    }


def _forecast_json(cast: Forecast) -> dict[str, Any]:
    """The whole run; `seconds` is `last_trigger_seconds` under its older name."""
    return {
        "seconds": round(cast.last_trigger, 3),
        "text": cast.text,
        "levels": cast.levels,
        **cast.kept,
        "minutes": as_minutes(cast.minutes),
        "supposed": list(cast.supposed),
        "advice": [{"what": advice.what, **_seconds(advice)} for advice in cast.advice],
    }


def _account_json(one: AccountForecast | None) -> Mapping[str, Any]:
    if one is None:
        return {"triggers": 0, "looks": 0, "seconds": 0.0, "binding": None, "phases": [], "allowance": []}
    return {
        "triggers": one.triggers,
        "looks": one.looks,
        "seconds": round(one.last_trigger, 3),
        **_seconds(one),
        "binding": None if one.binding is None else f"{one.binding.rule}{one.binding.subject}",
        "phases": [
            _picked(span, from_seconds="start", to_seconds="end", limit="rule", where="where", places="places")
            for span in one.spans
        ],
        "allowance": [
            {"limit": str(use.limit), **_picked(use, where="where", used="used", allowed="allowed", left="left")}
            for use in one.uses
        ],
    }


def _seconds(one: AccountForecast | Advice) -> dict[str, Any]:
    return _picked(one, last_trigger_seconds="last_trigger", last_build_seconds="last_build")


def _picked(value: object, **names: str) -> dict[str, Any]:
    """Fields of a value under other names, numbers rounded."""
    found = {key: getattr(value, name) for key, name in names.items()}
    return {key: round(it, 3) if isinstance(it, float) else it for key, it in found.items()}
