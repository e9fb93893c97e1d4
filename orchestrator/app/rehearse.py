"""Plans that trigger nothing real: against a look-alike that knows their repositories, or as curl lines."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urlencode

from orchestrator.app.context import Context
from orchestrator.app.plan import Planned
from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import NotTriggered, Unreachable, UsageError
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, Plan, Target, Trigger
from orchestrator.core.rehearsal import Rehearsal, is_meant
from orchestrator.core.selection import near_target
from orchestrator.providers import registry
from orchestrator.providers.port import references_in

TOKEN = "ORCHESTRATOR_SANDBOX_TOKEN"  # noqa: S105  # a variable's name

# Stands before the name of a shell variable until it is quoted; drawn anew in each process, so no text can hold it.
_MARK = secrets.token_hex(16)
_VARIABLE = re.compile(rf"{_MARK}<(\w+)>")


async def rehearsed(planned: Planned, context: Context, stack: AsyncExitStack) -> tuple[Planned, Context]:
    """The plan with its accounts led to a look-alike, and a context that has its tokens; unless it is a real run.

    Args:
        stack: the look-alike is served until it is closed.

    Raises:
        UsageError: there is no look-alike of one of the providers, or a glob of the choices means no target.
    """
    if not context.sandbox:
        return planned, context
    told = planned.choices.rehearsal.over(planned.plan.rehearsal)
    planned = _checked(planned)
    environ = dict(context.environ)
    accounts: dict[str, Account] = {}
    for number, (name, account) in enumerate(planned.plan.accounts.items()):
        targets = [target for target in planned.plan.targets if target.account == name]
        url, token = await stack.enter_async_context(_served(account, targets, told, context))
        environ[f"{TOKEN}_{number}"] = token
        accounts[name] = replace(account, url=url, token=f"env:{TOKEN}_{number}", insecure=False)
        for target in targets:
            environ.update(_stand_ins(target, account))
    return replace(planned, plan=replace(planned.plan, accounts=accounts)), context.with_environ(environ)


@asynccontextmanager
async def _served(
    account: Account, targets: Sequence[Target], told: Rehearsal, context: Context
) -> AsyncIterator[tuple[str, str]]:
    from orchestrator.lookalike.kit.server import serve

    look_alike = registry.lookalike_of(account.type)
    if look_alike is None:
        raise UsageError(f"--sandbox: account {account.name}: there is no look-alike of {account.type}")
    async with serve(look_alike.for_plan(targets, [account], told), now=context.now) as served:
        yield served.url, served.token


def _checked(planned: Planned) -> Planned:
    """The plan with a warning for each glob of its manifest's rehearsal that means none of its targets.

    Raises:
        UsageError: a glob that was typed means none.
    """
    plan = planned.plan
    for glob in planned.choices.rehearsal.globs:
        if not _means_some(glob, plan):
            raise UsageError(
                f"--sandbox: {glob!r} means none of the {len(plan.targets):,} targets{near_target(glob, plan.targets)}"
            )
    idle = [glob for glob in plan.rehearsal.globs if not _means_some(glob, plan)]
    warnings = [f"rehearsal: {glob!r} means none of the targets{near_target(glob, plan.targets)}" for glob in idle]
    return replace(planned, plan=replace(plan, warnings=(*plan.warnings, *warnings))) if warnings else planned


def _means_some(glob: str, plan: Plan) -> bool:
    return any(is_meant(glob, (target.repo,), target.branch) for target in plan.targets)


def _stand_ins(target: Target, account: Account) -> dict[str, str]:
    """Secrets that accounts and requests refer to are made up, too: a rehearsal needs none of the real ones."""
    said = registry.declared(account)
    keys = [target.request.get(key) for key, declared in said.keys.items() if declared.reference]
    names = [one for one in (*keys, *references_in(account, said)) if isinstance(one, str) and one.startswith("env:")]
    return {name.removeprefix("env:"): "made-up-for-the-sandbox" for name in names}


# -- lines that a shell accepts ------------------------------------------------------------------------------------


async def curl_lines(plan: Plan) -> list[str]:
    """What a run would send: one command a target; no marker, and the token as a shell variable."""
    found: list[str] = list(_head(plan))
    for target in plan.targets:
        if target.skip is not None:
            found.append(f"# {_comment(target.id)} is skipped: {_comment(target.skip)}")
            continue
        account = plan.accounts[target.account]
        found.append(_command(account, await _call(account, target, plan.name)))
    return found


def _head(plan: Plan) -> Iterator[str]:
    """Says where a token comes from when it is no variable."""
    for name in dict.fromkeys(target.account for target in plan.targets):
        account = plan.accounts[name]
        scheme, _, rest = (account.token or "").partition(":")
        variable = _variable(account)
        if scheme == "file":
            yield f'# {variable}="$(cat {_comment(shlex.quote(rest))})"'
        elif scheme == "command":
            yield f'# {variable}="$({_comment(rest)})"'


def _variable(account: Account) -> str:
    scheme, _, rest = (account.token or "").partition(":")
    if scheme == "env" and rest.isidentifier():
        return rest
    return registry.declared(account).token_env or "TOKEN"


async def _call(account: Account, target: Target, run_name: str) -> Call:
    """The call that the provider would make, caught before it leaves."""
    caught: list[Call] = []

    async def catch(call: Call) -> Answer:
        caught.append(call)
        raise Unreachable("this is only a plan")

    provider = registry.load(registry.declared(account).factory)(account, catch, _reference)
    trigger = Trigger(target, attempt=1, marker=None, run_name=run_name)
    try:
        await provider.trigger(trigger)
    except NotTriggered:
        return caught[-1]
    raise AssertionError("a provider cannot have triggered what never left")


def _reference(reference: str) -> str:
    """Stands in for a secret in a body: the variable that is to hold it."""
    scheme, _, rest = reference.partition(":")
    return _held(rest if scheme == "env" and rest.isidentifier() else "REQUEST_TOKEN")


def _held(variable: str) -> str:
    return f"{_MARK}<{variable}>"


def _command(account: Account, call: Call) -> str:
    declared = registry.declared(account)
    has_token = account.token is not None or declared.needs_token
    general = registry.load(declared.headers)(account, _held(_variable(account)) if has_token else "")
    headers = {**general, **call.headers}
    words = ["curl", "-sS", "-g", "-X", call.method]
    for name, value in headers.items():
        words += _credentials(value) if name == "Authorization" else ["-H", _quoted(f"{name}: {value}")]
    if call.form and isinstance(call.body, Mapping):
        words += [word for pair in call.body.items() for word in ("--data-urlencode", _quoted("=".join(pair)))]
    elif call.body is not None:
        words += ["-H", _quoted("Content-Type: application/json")]
        words += ["--data-binary", _quoted(json.dumps(call.body))]
    query = "?" + urlencode(call.query, quote_via=quote) if call.query else ""
    signed = "" if call.sign is None else "  # and a signature, which is made when it is sent"
    return " ".join([*words, _quoted(account.url.rstrip("/") + call.path + query)]) + signed


def _credentials(value: str) -> list[str]:
    scheme, _, basic = value.partition(" ")
    if scheme != "Basic":
        return ["-H", _quoted(f"Authorization: {value}")]
    return ["-u", _quoted(b64decode(basic).decode())]


def _quoted(text: str) -> str:
    """One word for a shell: everything in single quotes but the variables, which are in double ones."""
    pieces = _VARIABLE.split(text)  # text, variable, text, variable, ..., text
    words = [f'"${piece}"' if number % 2 else shlex.quote(piece) for number, piece in enumerate(pieces) if piece]
    return "".join(words) or "''"


def _comment(text: str) -> str:
    return " ".join(text.split())
