"""What there is to say of a service that its account describes. Importing this imports no HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, TypedDict

from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState, Findability, Limit, Target
from orchestrator.providers.port import Declaration, Key, Polling
from orchestrator.providers.webhook.description import BRANCH, MARKER, Described, Problem, pointer_problem

CALLS = "calls"
TRIGGERS = "triggers"
ACCEPTED = (200, 201, 202)
REFUSED = (400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429)
STATES: Mapping[str, BuildState] = {state.value: state for state in BuildState if state is not BuildState.ACCEPTED}
"""The words of ours on which the words of a service are mapped."""


class _Trigger(TypedDict, total=False):
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    accepted: list[int]
    refused: list[int]
    id: str


class _Sign(TypedDict, total=False):
    key: str
    header: str
    prefix: str
    timestamp: str


class _Status(TypedDict, total=False):
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    state: str
    url: str
    states: dict[str, str]


class _Find(TypedDict, total=False):
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    items: str
    id: str


class _Cancel(TypedDict, total=False):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


SETTINGS: Mapping[str, Key] = {
    "trigger": Key(_Trigger, "the call that starts a build, and which statuses say that it did"),
    "sign": Key(_Sign, "HMAC-SHA256 over the body of each call that has one"),
    "status": Key(_Status, "the call that shows a build, and what the service's words mean"),
    "find": Key(_Find, "the call that lists what carries a marker"),
    "cancel": Key(_Cancel, "the call that ends a build"),
    "follow": Key(Literal["none"], "what was accepted has passed: its result is not looked at"),
}
_NEEDED = {
    "trigger": ("path",),
    "sign": ("key", "header"),
    "status": ("path", "state", "states"),
    "find": ("path", "items", "id"),
    "cancel": ("path",),
}
_POINTERS = {"trigger": ("id",), "status": ("state", "url"), "find": ("items", "id")}


def described(account: Account) -> dict[str, Described]:
    """The kinds of calls that the account describes."""
    found = {kind: account.settings.get(kind) for kind in ("trigger", "status", "find", "cancel")}
    return {kind: Described(kind, said) for kind, said in found.items() if isinstance(said, Mapping)}


def problems(account: Account) -> Iterator[Problem]:
    """What is wrong with a description; what is not whole is not looked at further."""
    said = account.settings
    if "trigger" not in said:
        yield "how is a build started? there is no `trigger`", "write `trigger: {path: /..., body: {...}}`", ()
    if ("status" in said) == ("follow" in said):
        both = "`status` and `follow: none` stand side by side" if "follow" in said else "how are builds followed?"
        yield both, "write one of them: `status: {...}`, or `follow: none`", ()
    whole = True
    for kind, needed in _NEEDED.items():
        part = said.get(kind)
        for key in (key for key in needed if isinstance(part, Mapping) and key not in part):
            whole = False
            yield f"`{kind}` has no `{key}`", f"write it; `{kind}` needs {', '.join(needed)}", (kind,)
    if whole:
        yield from _of_calls(account)


def _of_calls(account: Account) -> Iterator[Problem]:
    calls = described(account)
    for kind, call in calls.items():
        yield from call.problems()
        for key in _POINTERS.get(kind, ()):
            if key in call.said and (problem := pointer_problem(call.said[key])):
                yield f"`{key}` {problem}", "RFC 6901: a / before each key", (kind, key)
    trigger, status = calls.get("trigger"), calls.get("status")
    if trigger is not None:
        told = {name: trigger.said.get(name, usual) for name, usual in (("accepted", ACCEPTED), ("refused", REFUSED))}
        if twice := set(told["accepted"]) & set(trigger.said.get("refused", ())):
            yield f"{min(twice)} is accepted and refused", "name it in one of them", ("trigger", "refused")
        for name, codes in told.items():
            if not codes or not all(200 <= code <= 599 and not 300 <= code < 400 for code in codes):
                yield "these are no statuses that can say so", "200 to 299 and 400 to 599", ("trigger", name)
        if (status is not None or "cancel" in calls) and "id" not in trigger.said:
            yield (
                "which request is it? `trigger` has no `id`",
                "write where the answer says it: `id: /id`",
                ("trigger",),
            )
        if "find" in calls and MARKER not in trigger.names() & calls["find"].names():
            yield "`find` needs the marker in itself and in `trigger`", "write ${{ marker }} in both", ("find",)
    if status is not None:
        yield from _of_states(status.said["states"])


def _of_states(states: Mapping[str, str]) -> Iterator[Problem]:
    for word, means in states.items():
        if means not in STATES:
            yield f"{word[:40]!r}: unknown state {means[:40]!r}", f"one of {', '.join(STATES)}", ("status", "states")
            return
    if not any(STATES[means].is_final for means in states.values()):
        yield "no word of `states` ends a build", "name those that mean passed and failed", ("status", "states")


def for_account(declared: Declaration, account: Account) -> Declaration:
    """How the account's requests are found again, and which keys of a target it has no use for."""
    calls = described(account)
    if "trigger" not in calls or "path" not in calls["trigger"].said:
        return declared
    names = calls["trigger"].names()
    unused = {"env": "target.env", "message": "target.message"}
    return replace(
        declared,
        states={word: STATES[means] for word, means in _words(calls).items() if means in STATES},
        finds=Findability.BY_MARKER if "find" in calls else Findability.NEVER,
        lacks=frozenset(key for key, name in unused.items() if name not in names),
        target_problem=partial(_target_problem, list(calls.values())),
    )


def _words(calls: Mapping[str, Described]) -> Mapping[str, str]:
    found: Mapping[str, str] = calls["status"].said.get("states", {}) if "status" in calls else {}
    return found


def _target_problem(calls: list[Described], target: Target) -> tuple[str, str] | None:
    """An absent branch is null where it stands alone in a body, and nothing anywhere else."""
    is_sent = any(BRANCH in call.names() for call in calls)
    if target.branch is None and any(BRANCH in call.names_in_text() for call in calls):
        return "there is no branch, and the account's description puts one into a text", "write `branch`"
    if target.branch is not None and not is_sent:
        return (
            "the account's description sends no branch",
            "remove `branch`, or write ${{ target.branch }} in `trigger`",
        )
    return None


DECLARATION = Declaration(
    type="webhook",
    title="the service",
    url="",
    hosts=frozenset(),
    factory="orchestrator.providers.webhook.provider:Webhook",
    headers="orchestrator.providers.webhook.provider:headers",
    lookalike="orchestrator.lookalike.webhook:WebhookLookAlike",
    states=STATES,
    limits=(Limit(TRIGGERS, 60, 60.0), Limit(CALLS, 600, 60.0)),
    trigger_limits=(TRIGGERS, CALLS),
    finds=Findability.NEVER,
    settings=SETTINGS,
    secret_settings=(("sign", "key"),),
    account_problems=problems,
    for_account=for_account,
    needs_token=False,
    fold_case=False,
    starters={"orchestrator.yaml": "orchestrator.providers.webhook:starter.yaml"},
    polling=Polling(per_round=0.0, per_build=1.0),
)
