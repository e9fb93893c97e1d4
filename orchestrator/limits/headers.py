"""What the headers of an answer tell of the provider's limits; a provider only declares which of them mean what.

Three families are understood: `X-RateLimit-Limit`, `-Remaining`, `-Reset` and their relatives under any prefix;
`RateLimit-*` with `RateLimit-Policy` as in the older IETF drafts (`100;w=60`, and all in one: `limit=100, remaining=5,
reset=30`); and the newer structured form (`RateLimit: "default";r=5;t=30`, `RateLimit-Policy: "default";q=100;w=60`).
A reset may be seconds from now, seconds or milliseconds of the epoch, or a date: told apart by their size. Seconds of
the epoch are compared with the answer's own `Date`, so no clock of ours is involved.

Nothing is believed without bounds: what is no number, negative, not finite or absurdly long is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC

from orchestrator.core.calls import Answer, Call
from orchestrator.core.frozen import Struct
from orchestrator.core.model import ACCOUNT, Learnt, Scope
from orchestrator.limits.window import LONGEST, LONGEST_WAIT, MOST_CALLS

EPOCH_FROM = 10**9  # a reset from here on is an instant (2001 and later), below it a duration
MILLIS_FROM = 10**11  # ... and from here on an instant in milliseconds
GRACE = 1.0  # seconds added to a reset: servers round to whole ones
MOST_TEXT = 1000  # characters of a header that are read
MOST_RULES = 8  # policies of one header that are read


class Told(Struct, frozen=True):
    """A family of headers that speaks of one limit.

    Args:
        limit: its name among the declaration's limits.
        family: what the names of the headers begin with, in lower case: `x-ratelimit`, `ratelimit`, `ratelimit-user`.
        suffix: what they end with: `-minute` for `X-RateLimit-Remaining-Minute`; the reset may go without it.
        per: the period in seconds, where no header tells it; None: then a limit without a policy tells no rule.
        scope: what the limit is counted for: `account`, `owner` or `repo`.
        only: a header and the value that it must have for these headers to mean this limit
            (`("x-ratelimit-resource", "core")`).
        policy: the name of the policy in the structured form; None for any.
    """

    limit: str
    family: str = "ratelimit"
    suffix: str = ""
    per: float | None = None
    scope: str = ACCOUNT
    only: tuple[str, str] | None = None
    policy: str | None = None


class _Rule(Struct, frozen=True):
    """One item of a policy header."""

    name: str
    calls: int | None
    per: float | None


def tells(*told: Told, fold_case: bool = True) -> Callable[[Call, Answer], Sequence[Learnt]]:
    """The `learn` of a declaration whose provider speaks in headers.

    A `Retry-After` on an answer that is no refusal asks for patience, too (Azure does so): it empties the first limit.
    On a refusal the provider reads it (`retry_after`), since only it knows which scope was refused.

    Args:
        fold_case: as in the declaration: whether `ACME/x` and `acme/x` are one repository.
    """

    def learn(call: Call, answer: Answer) -> list[Learnt]:
        repo = call.repo.lower() if fold_case and call.repo is not None else call.repo
        learnt = read_limits(told, answer.headers, repo)
        patience = retry_after(answer.headers) if answer.status < 400 else None
        scope = _scope(told[0].scope, repo) if told else None
        if patience and scope is not None:
            learnt.append(Learnt(told[0].limit, scope, left=0, reset=patience))
        return learnt

    return learn


def read_limits(told: Sequence[Told], headers: Mapping[str, str], repo: str | None) -> list[Learnt]:
    """What these headers tell.

    Args:
        headers: by their names in lower case.
        repo: whose limits they are, where they are not the account's; as it is counted.
    """
    found: list[Learnt] = []
    for one in told:
        scope = _scope(one.scope, repo)
        if scope is not None and _means(one, headers):
            found += _read(one, scope, headers)
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds for which a refusal asks us to stay away: told in seconds or as a date; None where nothing is told."""
    value = headers.get("retry-after", "")[:MOST_TEXT].strip()
    seconds = number(value)
    if seconds is None:
        return _until(instant(value), headers)
    return _until(seconds, headers) if seconds >= EPOCH_FROM else min(seconds, LONGEST_WAIT)


def reset_after(value: str, headers: Mapping[str, str]) -> float | None:
    """Seconds until calls are free again, of a reset in any of its forms; None where it tells nothing."""
    seconds = number(value)
    if seconds is not None and seconds < EPOCH_FROM:
        return min(seconds + GRACE, LONGEST_WAIT)
    if seconds is None:
        seconds = instant(value)
    elif seconds >= MILLIS_FROM:
        seconds /= 1000.0
    wait = _until(seconds, headers)
    return None if wait is None else min(wait + GRACE, LONGEST_WAIT)


def number(value: str) -> float | None:
    """A number of calls or seconds; None for what is none, negative, not finite, or longer than any honest one."""
    text = value.strip()
    whole, dot, part = text.partition(".")
    if len(text) > 24 or not text.isascii() or not whole.isdigit() or (dot and not part.isdigit()):
        return None
    return float(text)


def instant(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None for anything else."""
    from email.utils import parsedate_to_datetime  # 10 ms, and only few answers have a date to be read

    if not 20 <= len(value) <= 40:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def server_time(headers: Mapping[str, str]) -> float | None:
    """The server's clock as an answer shows it, seconds since the epoch; None where it shows none."""
    return instant(headers.get("date", ""))


def _until(at: float | None, headers: Mapping[str, str]) -> float | None:
    """Seconds until an instant of the server's clock; what is over asks for no patience."""
    now = server_time(headers)
    return None if at is None or now is None else min(max(0.0, at - now), LONGEST_WAIT)


def _scope(kind: str, repo: str | None) -> Scope | None:
    """Where it is counted; None where the call does not tell for whom."""
    if repo is None:
        return ACCOUNT if kind == ACCOUNT else None
    return Scope.around(repo, kind)


def _means(told: Told, headers: Mapping[str, str]) -> bool:
    return told.only is None or headers.get(told.only[0], "").strip().lower() == told.only[1]


def _read(told: Told, scope: Scope, headers: Mapping[str, str]) -> list[Learnt]:
    """One limit: its rules, and on the first of them what is left of it."""
    rules = list(_rules(told, headers))
    name, left, reset = _rest(told, headers)
    rules.sort(key=lambda rule: rule.name != name)  # the rest is of the policy of this name, else of the first
    if not rules and left is not None:
        rules = [_Rule("", None, None)]
    found = []
    for n, rule in enumerate(rules):
        calls = rule.calls if rule.per is not None else None
        rest = (left, reset) if n == 0 else (None, None)
        if rest[0] is not None and rule.calls is not None:
            rest = min(rest[0], rule.calls), reset
        if calls is not None or rest[0] is not None:
            found.append(Learnt(told.limit, scope, calls, rule.per if calls is not None else None, *rest))
    return found


def _rules(told: Told, headers: Mapping[str, str]) -> Iterator[_Rule]:
    """The rules that the headers tell; the one that `-Limit` names is first."""
    policies = [
        rule
        for item, said in _items(headers.get(f"{told.family}-policy", ""))
        if (rule := _policy(item, said)) is not None and told.policy in (None, rule.name)
    ]
    limit = _calls(_field(told, headers, "limit"))
    if limit is None or any(rule.calls == limit for rule in policies):
        yield from sorted(policies, key=lambda rule: rule.calls != limit)
    else:
        yield _Rule("", limit, told.per)
        yield from policies


def _policy(item: str, said: Mapping[str, str]) -> _Rule | None:
    """`100;w=60`, or `"default";q=100;w=60`; a quota of another unit than calls is none of ours."""
    calls = _calls(said.get("q", item))
    per = number(said.get("w", ""))
    if calls is None or not per or per > LONGEST or said.get("qu", "requests") != "requests":
        return None
    return _Rule(item if "q" in said else "", calls, per)


def _rest(told: Told, headers: Mapping[str, str]) -> tuple[str, int | None, float | None]:
    """The policy, what is left of it, and the seconds until it is whole again."""
    for item, said in _items(headers.get(told.family, "")):
        if told.policy in (None, item) and "r" in said:
            return item, _left(said["r"]), reset_after(said.get("t", ""), headers)
    left = _left(_field(told, headers, "remaining"))
    resets = _field(told, headers, "reset"), headers.get(f"{told.family}-resettime", "")
    waits = [wait for text in resets if (wait := reset_after(text[:MOST_TEXT], headers)) is not None]
    return "", left, max(waits, default=None)


def _field(told: Told, headers: Mapping[str, str], field: str) -> str:
    """A value in a header of its own, else in the header that has them all; of a list the first."""
    own = headers.get(f"{told.family}-{field}{told.suffix}")
    if own is None and field == "reset":
        own = headers.get(f"{told.family}-{field}")
    if own is None:
        pairs = (item.partition("=") for item, _ in _items(headers.get(told.family, "")))
        return next((value.strip() for name, _, value in pairs if name.strip() == field), "")
    return own[:MOST_TEXT] if field == "reset" else own[:MOST_TEXT].partition(",")[0].partition(";")[0]


def _items(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The members of a list header, each with its parameters; names without their quotes."""
    for member in value[:MOST_TEXT].split(",")[:MOST_RULES]:
        item, *parameters = (part.strip() for part in member.split(";"))
        said = (parameter.partition("=") for parameter in parameters)
        if item:
            yield item.strip('"'), {name.strip().lower(): value.strip().strip('"') for name, _, value in said}


def _calls(value: str) -> int | None:
    calls = number(value)
    return None if calls is None or calls < 1 else int(min(calls, MOST_CALLS))


def _left(value: str) -> int | None:
    left = number(value)
    return None if left is None else int(min(left, MOST_CALLS))
