"""From what a person wrote to a plan: reads the manifest, asks providers what it leaves open, selects, forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator import manifest as manifests
from orchestrator.app.context import Context
from orchestrator.core.calls import is_loopback
from orchestrator.core.errors import UsageError
from orchestrator.core.evidence import Block
from orchestrator.core.frozen import Struct, field, gc_paused, replace
from orchestrator.core.model import Account, Plan
from orchestrator.core.options import Options
from orchestrator.core.rehearsal import NOTHING_SAID, Rehearsal
from orchestrator.core.secrets import shown
from orchestrator.core.selection import Selection, override_limits, select
from orchestrator.core.times import counted
from orchestrator.manifest import Manifest
from orchestrator.providers import registry
from orchestrator.providers.port import references_in
from orchestrator.report import FORMATS

if TYPE_CHECKING:
    from orchestrator.forecast import Forecast, Times
    from orchestrator.journal.port import Journal
    from orchestrator.providers.port import Declaration

DEFAULT = "orchestrator.yaml"
NEAR = ("orchestrator.yml", "orchestration.yaml", ".orchestrator.yaml", ".orchestrator.yml")  # what people also write
STDIN = "-"
RUN = "RUN"  # stands for the run's id as long as there is none
LARGEST = 64 * 1024 * 1024  # bytes of one file; a hundred thousand targets need five
PARAM = "ORCHESTRATOR_PARAM_"  # in the environment, before a parameter's name
MANY = 100  # targets above which a person is asked


class Source(Struct, frozen=True):
    """What the targets come from: a manifest, or repositories and lines.

    Args:
        manifest: the path as given, `-` for stdin; None stands for `orchestrator.yaml`.
        repos: `owner/name[@branch]`.
        lines: a file with one such line per target, or `-`.
        like: a run that says what each of these is asked for.
    """

    manifest: str | None = None
    repos: tuple[str, ...] = ()
    lines: str | None = None
    like: str | None = None

    @property
    def is_ad_hoc(self) -> bool:
        """Whether there is no manifest."""
        return bool(self.repos or self.lines or self.like)

    @property
    def words(self) -> tuple[str, ...]:
        """What a command line has for it."""
        manifest = () if self.manifest is None else (self.manifest,)
        repos = [word for repo in self.repos for word in ("--repo", repo)]
        return (*manifest, *repos, *(() if self.lines is None else ("--from", self.lines)))

    def is_missing(self, context: Context) -> bool:
        """Whether there is no such manifest."""
        path = self.manifest or DEFAULT
        return not self.is_ad_hoc and path != STDIN and not context.path(path).exists()

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.manifest or self.lines or (DEFAULT if not self.repos else "--repo")


class Choices(Options, frozen=True, kw_only=True):
    """What a person chose for a plan or a run, beside its source; what is left out is as manifest or run have it.

    Args:
        rehearsal: what look-alikes are told, beside what the manifest says.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    first: int | None = None
    rehearsal: Rehearsal = NOTHING_SAID

    @property
    def picked(self) -> tuple[str, ...]:
        """The flags that choose among targets, as words."""
        flags = (("--only", self.only), ("--exclude", self.exclude), ("--label", self.label))
        words = [word for flag, texts in flags for text in texts for word in (flag, text)]
        return (*words, *(() if self.first is None else ("--first", str(self.first))))

    @property
    def meant(self) -> Selection:
        """Which targets are meant."""
        labels = tuple(text.split(",") for text in self.label)
        return Selection(self.only, self.exclude, labels, self.first)


class Planned(Struct, frozen=True):
    """A plan, and what it was made with.

    Args:
        drawn: ids of targets that stand in a wave only because others of it need them.
        blocks: by wave, how many failures among how many first targets stop the run, where that was looked up.
    """

    plan: Plan
    choices: Choices
    drawn: Sequence[str] = ()
    blocks: Mapping[int, Sequence[Block]] = field(default_factory=dict)

    def warned(self, warnings: Sequence[str]) -> Planned:
        """The same with more that a person should know."""
        return replace(self, plan=replace(self.plan, warnings=(*self.plan.warnings, *warnings)))

    @property
    def needs_confirmation(self) -> str | None:
        """What a person should say yes to before it is started; None where nothing is out of the ordinary."""
        reasons = [f"it runs {command}" for command in token_commands(self.plan)]
        reasons += [f"account {name} sends its token to {host}" for name, host in foreign_hosts(self.plan)]
        number = len(self.plan.targets)
        if number <= MANY and not reasons:
            return None
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return f"Trigger {counted(number, 'build')}{why}?"


async def plan(
    source: Source,
    choices: Choices,
    context: Context,
    *,
    run: str = RUN,
    journal: Journal | None = None,
    offline: bool = False,
) -> Planned:
    """The plan of a run that would start now, with what the choices select.

    Args:
        run: the id that the run will have.
        journal: the state, where it is open already: what providers are asked keeps the limits that it shares.
        offline: ask no provider; what only one knows is left out.

    Raises:
        UsageError: something is wrong with what was written.
        NotStarted: nothing is selected, or `expect` is not met.
        AccessRefused, LookFailed: a provider did not answer.
    """
    from orchestrator.app.waves import in_waves

    if source.is_ad_hoc:
        found = selected(await ad_hoc(source, context, journal), None, choices, context)
        return Planned((await in_waves(found, run, context, journal))[0], choices)
    manifest = read_manifest(source, choices, context, run=run)
    from orchestrator.app import lookups  # `check` asks nobody

    if context.sandbox:
        known = lookups.invented(manifest)
    elif offline:
        known = manifests.Answers(offline=True)
    else:
        known = await lookups.answers(manifest, journal, context)
    expanded = manifests.expand(manifest, known, today=today(context))
    cut, drawn = await in_waves(selected(expanded, manifest, choices, context), run, context, journal)
    return Planned(cut, choices, drawn)


def today(context: Context) -> date:
    """The day in UTC."""
    return datetime.fromtimestamp(context.now(), UTC).date()


def read_manifest(
    source: Source, choices: Choices, context: Context, *, run: str = RUN, strict_params: bool = True
) -> Manifest:
    """The manifest, wholly validated; nothing is asked and no secret is resolved.

    Raises:
        UsageError: it cannot be read, or something is wrong with it.
    """
    path = source.manifest or DEFAULT
    fallback = {name.removeprefix(PARAM).upper(): it for name, it in context.environ.items() if name.startswith(PARAM)}
    return manifests.read(
        path,
        _bytes(path, context, is_default=source.manifest is None),
        declarations=registry.known(),
        params=choices.params,
        fallback=fallback,
        run_id=run,
        load=lambda name: _load(context, name),
        strict_params=strict_params,
        formats=FORMATS,
    )


def selected(plan: Plan, manifest: Manifest | None, choices: Choices, context: Context) -> Plan:
    """The plan with what the choices select, at the rates of the context, with the accounts that are used.

    Raises:
        NotStarted: nothing is selected, or `expect` is not met.
    """
    expect = manifest.expect if manifest is not None else None
    chosen = select(plan, choices.meant, expect)
    paced = override_limits(chosen, context.rates) if context.rates else chosen
    if context.rates:  # what the manifest says of its own rates no longer holds
        kept = [text for text in chosen.warnings if text not in _raised(chosen)]
        paced = replace(paced, warnings=(*kept, *_raised(paced)))
    used = {target.account for target in paced.targets}
    return replace(paced, accounts={name: account for name, account in paced.accounts.items() if name in used})


def _raised(plan: Plan) -> list[str]:
    from orchestrator.core.selection import raised

    accounts = plan.accounts.values()
    return [text for account in accounts for text in raised(account, registry.declared(account).limits)]


async def ad_hoc(source: Source, context: Context, journal: Journal | None = None) -> Plan:
    """The plan of what was written without a manifest.

    Raises:
        UsageError: something is wrong with it.
    """
    if source.manifest is not None:
        raise UsageError(f"--repo and --from need no manifest; leave {source.manifest} out, or put them into it")
    if source.repos and source.lines:
        raise UsageError("--repo and --from: write one or the other")
    if source.like and not source.repos and not source.lines:
        raise UsageError("--like says what targets are asked for, not which: name them with --from or --repo")
    plan = _listed(source, context)
    if not source.like:
        return plan
    from orchestrator.app.like import like

    return await like(plan, source.like, context, journal)


def _listed(source: Source, context: Context) -> Plan:
    if source.repos:
        return manifests.from_repos(source.repos, declarations=registry.known())
    name = source.lines or STDIN
    return manifests.from_lines(name, _bytes(name, context), declarations=registry.known())


def _bytes(path: str, context: Context, *, is_default: bool = False) -> bytes:
    try:
        return _load(context, path)
    except OSError as error:
        if is_default and isinstance(error, FileNotFoundError):
            near = next((name for name in NEAR if context.path(name).exists()), None)
            hint = f", but there is {near}: rename it, or name it as the manifest" if near else ""
            raise UsageError(
                f"there is no {DEFAULT} here{hint}; `orchestrator init` writes one, or name a manifest, or use --repo"
            ) from None
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{path!r} is no path") from None


def _load(context: Context, path: str) -> bytes:
    if path == STDIN and context.read_stdin is not None:
        return context.read_stdin(LARGEST + 1)
    from orchestrator.app.context import read_file

    return read_file(context.path(path), LARGEST + 1)


# -- what a person should know before the start -----------------------------------------------------------------


def token_commands(plan: Plan) -> list[str]:
    """The programs that the manifest runs to get tokens; of each only its name, as its words may hold secrets."""
    return sorted({shown(one) for account in plan.accounts.values() for one in commands_of(account)})


def commands_of(account: Account) -> list[str]:
    """The references of an account for which a program is run."""
    references = (account.token or "", *references_in(account, registry.declared(account)))
    return [one for one in references if one.startswith("command:")]


def foreign_hosts(plan: Plan) -> list[tuple[str, str]]:
    """Accounts, with the host, whose token goes elsewhere than to the provider's own hosts or this machine."""
    found = []
    for name, account in plan.accounts.items():
        said, host = registry.declared(account), urlsplit(account.url).hostname or account.url
        has_secret = account.token is not None or said.needs_token or bool(references_in(account, said))
        if has_secret and host not in said.hosts and not is_loopback(host):
            found.append((name, host))
    return found


def warnings_of(plan: Plan, foreseen: Sequence[str]) -> list[str]:
    """Everything that a person should know before the start, each sentence once; `foreseen` by its forecast."""
    accounts = [
        f"account {name}: {warning}"
        for name, account in plan.accounts.items()
        for warning in registry.declared(account).warn_account(account)
    ]
    hosts = [f"account {name} sends its token to {host}" for name, host in foreign_hosts(plan)]
    programs = [f"a program is run to get a token: {command}" for command in token_commands(plan)]
    return list(dict.fromkeys([*hosts, *programs, *accounts, *plan.warnings, *foreseen]))


# -- the forecast -----------------------------------------------------------------------------------------------


def forecast_of(planned: Planned, times: Times, context: Context, *, advise: bool = True) -> Forecast:
    """The forecast of a run that starts now.

    Args:
        advise: with what would help, which takes as many forecasts more.
    """
    from orchestrator.forecast import forecast

    times = _supposed(times, planned, context)
    return forecast(*_to_simulate(planned, context), start=context.now(), times=times, advise=advise)


def forecast_kept(planned: Planned, times: Times, context: Context) -> tuple[Mapping[str, float], Sequence[str]]:
    """What a run that starts now keeps of its forecast, and the warnings of that; as `forecast_of`."""
    from orchestrator.forecast.advice import warnings
    from orchestrator.forecast.simulate import Simulation

    plan, declarations, options = _to_simulate(planned, context)
    times = _supposed(times, planned, context)
    with gc_paused():
        run = Simulation(plan, declarations, options, context.now(), times)
        run.run()
        return run.kept, warnings(plan, run, declarations, options)


def _supposed(times: Times, planned: Planned, context: Context) -> Times:
    """With what is known of a look-alike, where it is a rehearsal."""
    from orchestrator.app.lookups import as_rehearsed

    return as_rehearsed(times, planned.plan) if context.sandbox else times


def _to_simulate(planned: Planned, context: Context) -> tuple[Plan, Mapping[str, Declaration], Options]:
    plan, choices = planned.plan, planned.choices
    options = Options.over(choices, choices, ignore_quiet_hours=choices.ignore_quiet_hours or context.sandbox)
    return plan, {account.type: registry.declaration(account.type) for account in plan.accounts.values()}, options
