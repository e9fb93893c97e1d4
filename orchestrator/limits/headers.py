"""What the headers of an answer reveal of the provider's limits; a provider only declares which of them mean what.

Three families are understood: `X-RateLimit-Limit`, `-Remaining`, `-Reset` and their relatives under any prefix;
`RateLimit-*` with `RateLimit-Policy` as in the older IETF drafts (`100;w=60`, and all in one: `limit=100, remaining=5,
reset=30`); and the newer structured form (`RateLimit: "default";r=5;t=30`, `RateLimit-Policy: "default";q=100;w=60`).
A reset may be seconds from now, seconds or milliseconds of the epoch, or a date: known by their size. Seconds of
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


class HeaderFamily(Struct, frozen=True):
    """A family of headers that speaks of one limit.

    Args:
        limit: its name among the declaration's limits.
        prefix: what the names of the headers begin with, in lower case: `x-ratelimit`, `ratelimit`, `ratelimit-user`.
        suffix: what they end with: `-minute` for `X-RateLimit-Remaining-Minute`; the reset may go without it.
        per: the period in seconds, where no header gives it; None: then a limit without a policy gives no rule.
        scope: what the limit is counted for: `account`, `owner` or `repo`.
        only: a header and the value that it must have for these headers to mean this limit
            (`("x-ratelimit-resource", "core")`).
        policy: the name of the policy in the structured form; None for any.
    """

    limit: str
    prefix: str = "ratelimit"
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


def learn_from(*families: HeaderFamily, fold_case: bool = True) -> Callable[[Call, Answer], Sequence[Learnt]]:
    """The `learn` of a declaration whose provider speaks in headers.

    A `Retry-After` on an answer that is no refusal asks for patience, too (Azure does so): it empties the first limit.
    On a refusal the provider reads it (`retry_after`), since only it knows which scope was refused.

    Args:
        fold_case: as in the declaration: whether `ACME/x` and `acme/x` are one repository.
    """

    def learn(call: Call, answer: Answer) -> list[Learnt]:
        repo = call.repo.lower() if fold_case and call.repo is not None else call.repo
        learnt = read_limits(families, answer.headers, repo)
        patience = retry_after(answer.headers) if answer.status < 400 else None
        scope = _scope(families[0].scope, repo) if families else None
        if patience and scope is not None:
            learnt.append(Learnt(families[0].limit, scope, left=0, reset=patience))
        return learnt

    return learn


def read_limits(families: Sequence[HeaderFamily], headers: Mapping[str, str], repo: str | None) -> list[Learnt]:
    """What these headers reveal.

    Args:
        headers: by their names in lower case.
        repo: the one whose limits they may be, as its name is counted.
    """
    found: list[Learnt] = []
    for family in families:
        scope = _scope(family.scope, repo)
        if scope is not None and _means(family, headers):
            found += _read(family, scope, headers)
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds for which a refusal asks us to stay away: in seconds or as a date; None where the answer gives none."""
    value = headers.get("retry-after", "")[:MOST_TEXT].strip()
    seconds = number(value)
    if seconds is None:
        return _until(instant(value), headers)
    return _until(seconds, headers) if seconds >= EPOCH_FROM else min(seconds, LONGEST_WAIT)


def reset_after(value: str, headers: Mapping[str, str]) -> float | None:
    """Seconds until calls are free again, of a reset in any of its forms; None where it gives none."""
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
    """Where it is counted; None where the call is for no repository."""
    if repo is None:
        return ACCOUNT if kind == ACCOUNT else None
    return Scope.around(repo, kind)


def _means(family: HeaderFamily, headers: Mapping[str, str]) -> bool:
    return family.only is None or headers.get(family.only[0], "").strip().lower() == family.only[1]


def _read(family: HeaderFamily, scope: Scope, headers: Mapping[str, str]) -> list[Learnt]:
    """One limit: its rules, and on the first of them what is left of it."""
    rules = list(_rules(family, headers))
    name, left, reset = _rest(family, headers)
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
            found.append(Learnt(family.limit, scope, calls, rule.per if calls is not None else None, *rest))
    return found


def _rules(family: HeaderFamily, headers: Mapping[str, str]) -> Iterator[_Rule]:
    """The rules that the headers give; the one that `-Limit` names is first."""
    policies = [
        rule
        for item, given in _items(headers.get(f"{family.prefix}-policy", ""))
        if (rule := _policy(item, given)) is not None and family.policy in (None, rule.name)
    ]
    limit = _calls(_field(family, headers, "limit"))
    if limit is None or any(rule.calls == limit for rule in policies):
        yield from sorted(policies, key=lambda rule: rule.calls != limit)
    else:
        yield _Rule("", limit, family.per)
        yield from policies


def _policy(item: str, given: Mapping[str, str]) -> _Rule | None:
    """`100;w=60`, or `"default";q=100;w=60`; a quota of another unit than calls is none of ours."""
    calls = _calls(given.get("q", item))
    per = number(given.get("w", ""))
    if calls is None or not per or per > LONGEST or given.get("qu", "requests") != "requests":
        return None
    return _Rule(item if "q" in given else "", calls, per)


def _rest(family: HeaderFamily, headers: Mapping[str, str]) -> tuple[str, int | None, float | None]:
    """The policy, what is left of it, and the seconds until it is whole again."""
    for item, given in _items(headers.get(family.prefix, "")):
        if family.policy in (None, item) and "r" in given:
            return item, _left(given["r"]), reset_after(given.get("t", ""), headers)
    left = _left(_field(family, headers, "remaining"))
    resets = _field(family, headers, "reset"), headers.get(f"{family.prefix}-resettime", "")
    waits = [wait for text in resets if (wait := reset_after(text[:MOST_TEXT], headers)) is not None]
    return "", left, max(waits, default=None)


def _field(family: HeaderFamily, headers: Mapping[str, str], field: str) -> str:
    """A value in a header of its own, else in the header that has them all; of a list the first."""
    own = headers.get(f"{family.prefix}-{field}{family.suffix}")
    if own is None and field == "reset":
        own = headers.get(f"{family.prefix}-{field}")
    if own is None:
        pairs = (item.partition("=") for item, _ in _items(headers.get(family.prefix, "")))
        return next((value.strip() for name, _, value in pairs if name.strip() == field), "")
    return own[:MOST_TEXT] if field == "reset" else own[:MOST_TEXT].partition(",")[0].partition(";")[0]


def _items(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The members of a list header, each with its parameters; names without their quotes."""
    for member in value[:MOST_TEXT].split(",")[:MOST_RULES]:
        item, *parameters = (part.strip() for part in member.split(";"))
        given = (parameter.partition("=") for parameter in parameters)
        if item:
            yield item.strip('"'), {name.strip().lower(): value.strip().strip('"') for name, _, value in given}


def _calls(value: str) -> int | None:
    calls = number(value)
    return None if calls is None or calls < 1 else int(min(calls, MOST_CALLS))


def _left(value: str) -> int | None:
    left = number(value)
    return None if left is None else int(min(left, MOST_CALLS))
