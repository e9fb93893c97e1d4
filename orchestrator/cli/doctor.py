"""`orchestrator doctor`: asks whether a run would work, and says what to do where it would not; never triggers."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import click

from orchestrator.app.context import Session, run_async
from orchestrator.app.load_plan import Source, plan_of, source_flags
from orchestrator.app.machine import Machine
from orchestrator.app.open_journal import exists, place, readable
from orchestrator.app.pacing import Pace, refusal
from orchestrator.app.rehearse import rehearsed
from orchestrator.cli.flags import PICK, SHOW, Flags, common
from orchestrator.cli.output import tell
from orchestrator.core.errors import AccessRefused, JournalError, LookFailed, NotTriggered, UsageError
from orchestrator.core.exits import Exit
from orchestrator.core.frozen import Struct, asdict
from orchestrator.core.model import Account, Plan
from orchestrator.journal.sql.connection import SQLITE_VERSION
from orchestrator.providers.port import Inspects, Provider, RepoFacts, SaysWho
from orchestrator.report.words import counted, plain

SKEWED = 30.0  # seconds that clocks may differ before it is worth a word
LITTLE = 200 * 2**20  # bytes of free space below which a state is in danger
NAMED = 50

OK, WARN, REPO, ACCOUNT = "ok", "warning", "repo", "account"
_SEVERITY = (WARN, REPO, ACCOUNT)  # the worst stands last, where it is still on the screen


class Finding(Struct, frozen=True):
    """One thing that was looked at.

    Args:
        kind: `ok`, `warning`, `repo` (this one would be refused), `account` (nothing would work on it).
        about: an account, a repository, or a part of this machine.
        remedy: what to do about it; empty where nothing is.
    """

    kind: str
    about: str
    text: str
    remedy: str = ""


@click.command("doctor", short_help="Ask whether a run would work.")
@source_flags
@common(PICK, SHOW)
def command(flags: Flags, machine: Machine, manifest: str | None, repos: tuple[str, ...], lines: str | None) -> int:
    """Ask each account of MANIFEST who we are, and each repository whether it is there, active and allowed.

    Nothing is triggered. Exit 0 when all is well, 1 when a repository would be refused, 4 when an account would.
    """
    form = flags.stdout_format("text", ("text", "json"))
    source = Source(manifest, repos, lines)

    async def main() -> list[Finding]:
        findings = [finding async for finding in _machine(flags, machine)]
        if flags.sandbox:
            async with rehearsed(source, flags, machine, "doctor") as (plan, _, environ):
                return findings + await _accounts(plan, Session(flags, machine, environ=environ))
        session = Session(flags, machine)
        plan, _ = await plan_of(source, flags, machine, "doctor", session)
        return findings + await _accounts(plan, session)

    findings = run_async(main)
    code = _code(findings)
    if form == "json":
        tell(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
    elif not (flags.quiet and code is Exit.OK):
        tell("\n".join(_lines(findings)))
    return code


def _code(findings: Sequence[Finding]) -> Exit:
    kinds = {finding.kind for finding in findings}
    if ACCOUNT in kinds:
        return Exit.ACCOUNT
    return Exit.FAILED if REPO in kinds else Exit.OK


async def _machine(flags: Flags, machine: Machine) -> Any:
    where = place(flags, machine)
    yield Finding(OK, "sqlite", SQLITE_VERSION)
    if "://" not in where:
        folder = next(path for path in (Path(where), *Path(where).parents) if path.exists())
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        remedy = "a full disk stops a run: make room, or name another place with --state"
        yield Finding(WARN, "disk", text, remedy) if free < LITTLE else Finding(OK, "disk", text)
    if not exists(where):
        yield Finding(OK, "state", f"{where} (made by the first run)")
        return
    try:
        async with readable(flags, machine) as journal:
            rows = await journal.runs(open_only=True)
    except JournalError as error:
        yield Finding(ACCOUNT, "state", str(error), "name another place with --state, or move this one away")
    else:
        yield Finding(OK, "state", f"{where}, {counted(len(rows), 'open run')}")


async def _accounts(plan: Plan, session: Session) -> list[Finding]:
    findings: list[Finding] = []
    used = {target.account for target in plan.targets}
    for name, account in plan.accounts.items():
        if name in used:
            repos = dict.fromkeys(target.repo for target in plan.targets if target.account == name)
            findings += await _account(account, list(repos), session)
    return findings


async def _account(account: Account, repos: Sequence[str], session: Session) -> list[Finding]:
    try:
        async with session.connect(account) as line:
            pace = Pace(line, session.machine.now)
            provider = line.provider_over(pace.send)
            findings = [await _who(account, provider)]
            if findings[0].kind != ACCOUNT:
                findings += await _repos(provider, repos)
            return findings + list(_account_facts(account, pace))
    except UsageError as error:
        return [Finding(ACCOUNT, account.name, str(error))]
    except AccessRefused as error:
        return [Finding(ACCOUNT, account.name, str(error))]


async def _who(account: Account, provider: Provider) -> Finding:
    if not isinstance(provider, SaysWho):
        return Finding(OK, account.name, f"{account.url}; this provider does not say who we are")
    try:
        principal = await provider.whoami()
    except (NotTriggered, LookFailed) as error:
        return Finding(ACCOUNT, account.name, refusal(error), _remedy(error))
    if principal is None:
        return Finding(OK, account.name, f"{account.url}; it does not say who we are")
    return Finding(OK, account.name, f"{account.url}, as {plain(principal.login)} {plain(principal.detail)}".rstrip())


def _remedy(error: Exception) -> str:
    if isinstance(error, AccessRefused):
        return ""  # its message has one
    return "look at the URL, the network and HTTPS_PROXY"


def _account_facts(account: Account, pace: Pace) -> Iterator[Finding]:
    limits = ", ".join(f"{limit}{' (written)' if limit.written else ''}" for limit in account.limits)
    yield Finding(OK, account.name, f"limits: {limits or 'none'}; {account.connections} connections")
    if pace.skew is not None and abs(pace.skew) > SKEWED:
        text = f"our clocks differ by {abs(pace.skew):.0f} s"
        yield Finding(WARN, account.name, text, "set this machine's clock; the run allows for it meanwhile")


async def _repos(provider: Provider, repos: Sequence[str]) -> list[Finding]:
    if not isinstance(provider, Inspects):
        return [Finding(OK, "repos", "this provider cannot be asked about repositories")]
    found: dict[str, Finding] = {}

    async def look(repo: str) -> None:
        found[repo] = await _repo(provider, repo)

    async with anyio.create_task_group() as tasks:
        for repo in repos:
            tasks.start_soon(look, repo)
    return [found[repo] for repo in repos]


async def _repo(provider: Inspects, repo: str) -> Finding:
    try:
        facts = await provider.inspect(repo)
    except (NotTriggered, LookFailed) as error:
        return Finding(WARN, repo, refusal(error))
    if facts is None:
        return Finding(REPO, repo, "there is no such repository, or the token may not see it", "check its name")
    return _judged(repo, facts)


def _judged(repo: str, facts: RepoFacts) -> Finding:
    if not facts.active:
        return Finding(REPO, repo, "builds are switched off", "activate it at the provider, or `skip` it")
    if facts.may_trigger is False:
        return Finding(REPO, repo, "the token may not trigger builds here", "give its user push access")
    branch = f", default branch {plain(facts.default_branch)}" if facts.default_branch else ""
    return Finding(OK, repo, f"active, allowed{branch}")


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """What is fine, of repositories only a few; then what is not, in full; last how much of which there is."""
    fine = [finding for finding in findings if finding.kind == OK]
    hidden = [finding for finding in fine if "/" in finding.about][NAMED:]
    skip = set(map(id, hidden))
    yield from (_line(finding) for finding in fine if id(finding) not in skip)
    if hidden:
        yield f"ok    ... and {len(hidden):,} more that are as they should be"
    wrong = sorted((finding for finding in findings if finding.kind != OK), key=lambda one: _SEVERITY.index(one.kind))
    yield from map(_line, wrong)
    yield _sum(findings)


def _line(finding: Finding) -> str:
    mark = {OK: "ok  ", WARN: "WARN"}.get(finding.kind, "BAD ")
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{mark}  {plain(finding.about)}: {plain(finding.text)}{remedy}"


def _sum(findings: Sequence[Finding]) -> str:
    count = Counter(finding.kind for finding in findings)
    looked_at = counted(len(findings), "thing") + " looked at: "
    if count[ACCOUNT]:
        return f"{looked_at}a run would not work; mend what is BAD first"
    if count[REPO]:
        would = "1 repository" if count[REPO] == 1 else f"{count[REPO]:,} repositories"
        return f"{looked_at}{would} would be refused, the others are fine; nothing was triggered"
    return f"{looked_at}a run would work; nothing was triggered"
