"""What a run would send, as lines that a shell accepts: no marker, and the token as a shell variable."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator

from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import NotTriggered, Unreachable
from orchestrator.core.model import Account, Plan, Target, Trigger
from orchestrator.providers import registry
from orchestrator.providers.port import Declaration

# Stands before the name of a shell variable until it is quoted; drawn anew in each process, so no text can hold it.
_MARK = secrets.token_hex(16)
_VARIABLE = re.compile(rf"{_MARK}<(\w+)>")


async def lines(plan: Plan) -> list[str]:
    """One command a target, in plan order; what is skipped is a comment."""
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
    return registry.declaration(account.type).token_env or "TOKEN"


async def _call(account: Account, target: Target, run_name: str) -> Call:
    """The call that the provider would make, caught before it leaves."""
    caught: list[Call] = []

    async def catch(call: Call) -> Answer:
        caught.append(call)
        raise Unreachable("this is only a plan")

    provider = registry.load(registry.declaration(account.type).factory)(account, catch, _reference)
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
    declared: Declaration = registry.declaration(account.type)
    headers = registry.load(declared.headers)(account, _held(_variable(account)))
    words = ["curl", "-sS", "-g", "-X", call.method]
    for name, value in headers.items():
        words += ["-H", _quoted(f"{name}: {value}")]
    if call.body is not None:
        words += ["-H", _quoted("Content-Type: application/json")]
        words += ["--data-binary", _quoted(json.dumps(call.body))]
    return " ".join([*words, _quoted(account.url.rstrip("/") + call.path)])


def _quoted(text: str) -> str:
    """One word for a shell: everything in single quotes but the variables, which are in double ones."""
    pieces = _VARIABLE.split(text)  # text, variable, text, variable, ..., text
    words = [f'"${piece}"' if number % 2 else shlex.quote(piece) for number, piece in enumerate(pieces) if piece]
    return "".join(words) or "''"


def _comment(text: str) -> str:
    return " ".join(text.split())
