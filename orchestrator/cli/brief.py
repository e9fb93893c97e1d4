"""What a person knows before a run starts, in five lines and its warnings: `plan` leads with them, `run` asks below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from orchestrator.app.plan import warnings_of
from orchestrator.core.model import Account, Plan
from orchestrator.core.secrets import shown
from orchestrator.core.times import counted, moment, rounded
from orchestrator.forecast import AccountForecast, Forecast
from orchestrator.providers import registry
from orchestrator.providers.port import references_in
from orchestrator.report.words import plain
from orchestrator.report.wrap import named

OWNERS = 4  # that are named


def brief(plan: Plan, cast: Forecast, logins: Mapping[str, str], now: float) -> Iterator[str]:
    """How many, whose, as whom and where, until when, what decides that, and what should be known; a line each.

    Args:
        logins: by account, as whom the provider knows us, where it was asked.
        now: wall clock.
    """
    yield f"{named(plan.name)}: {how_many(plan)}{_owners(plan)}"
    accounts = "; ".join(_as(name, account, logins.get(name)) for name, account in plan.accounts.items())
    yield f"  as: {accounts}"
    yield f"  until: {_until(cast, now)}"
    yield f"  decides: {_decides(list(cast.accounts.values()))}"
    yield from warning_lines(warnings_of(plan, cast.warnings))


def how_many(plan: Plan) -> str:
    """The numbers of targets and repositories."""
    skipped = sum(target.skip is not None for target in plan.targets)
    repos = len({(target.account, target.repo.casefold()) for target in plan.targets})
    where = "1 repository" if repos == 1 else f"{repos:,} repositories"
    return f"{counted(len(plan.targets), 'target')} in {where}{f', {skipped:,} skipped' if skipped else ''}"


def _owners(plan: Plan) -> str:
    found = Counter(target.owner for target in plan.targets if target.skip is None)
    told = [f"{named(owner)} {number:,}" for owner, number in found.most_common(OWNERS)]
    told += [f"+{len(found) - OWNERS:,} owners"] if len(found) > OWNERS else []
    return f": {', '.join(told)}" if told else ""


def _as(name: str, account: Account, login: str | None) -> str:
    host = urlsplit(account.url).netloc or account.url
    known = f"{named(login)} " if login else ""
    title = registry.declared(account).title
    return f"{known}on {plain(host)} ({plain(title)}, account {plain(name)}, {token_of(account)})"


def token_of(account: Account) -> str:
    """Where the account's secrets come from; never the secrets themselves."""
    declared = registry.declared(account)
    if found := references_in(account, declared):
        return f"secret {', '.join(map(shown, found))}"
    return f"token {account.token or ('as the provider has it' if declared.needs_token else 'none')}"


def _until(cast: Forecast, now: float) -> str:
    if not cast.accounts:
        return "nothing is to be sent"
    sent = "everything is sent at once"
    if cast.last_trigger >= 1:
        sent = f"everything is sent after about {rounded(cast.last_trigger)}"
    over = moment(now + cast.last_build, now)
    return f"{sent}; the last build ends after about {rounded(cast.last_build)}, at about {over}"


def _decides(accounts: Sequence[AccountForecast]) -> str:
    """Which limit makes it take that long, of the account that takes longest."""
    slowest = max(accounts, key=lambda one: one.last_build, default=None)
    if slowest is None or slowest.binding is None:
        return "no limit makes it wait; how long the builds take decides"
    whose = f", account {plain(slowest.account)}" if len(accounts) > 1 else ""
    return f"{plain(slowest.binding.rule + slowest.binding.subject)}{whose}"


def warning_lines(warnings: Sequence[str]) -> Iterator[str]:
    """How many warnings there are, and each of them."""
    yield f"  warnings: {len(warnings) or 'none'}"
    yield from (f"warning: {plain(warning)}" for warning in warnings)
