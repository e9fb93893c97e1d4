"""What answers mean to any provider: bodies within bounds, values read without trust, statuses as errors.

A provider branches on the status and on the service's own words; what is the same for all of them stands here.
Whatever is quoted from a server is cut and cleaned before a person sees it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.calls import Answer, Call, Send
from orchestrator.core.errors import (
    AccessRefused,
    InDoubt,
    LookFailed,
    NotTriggered,
    RateLimited,
    Rejected,
    Unreachable,
)
from orchestrator.core.model import BuildState, Json, Trigger
from orchestrator.limits.headers import retry_after
from orchestrator.providers.kit.bodies import Doubled

LATEST = 4_102_444_800.0  # the year 2100: what is later is none of our times

# Statuses of proxies that say nothing of whether the call went through.
UNDECIDED = frozenset({408, 425, 499})


async def read(send: Send, call: Call) -> Answer:
    """Sends a call that only reads: where its answer is lost, the lookup has failed and nothing is in doubt.

    Raises:
        LookFailed: no answer came.
    """
    try:
        return await send(call)
    except (InDoubt, Unreachable) as error:
        cause = error.cause
    raise LookFailed(f"{call.path}: {cause}")


def refused(answer: Answer, title: str) -> NotTriggered | None:
    """The refusals that any call may get, whatever it asked for: a dead token, too many calls.

    Args:
        title: the service's name, for messages.
    """
    match answer.status:
        case 401:
            told = f"{title} does not accept the token (HTTP 401); renew it, and resume"
            return AccessRefused("bad_token", told, answer.scope)
        case 429:
            return RateLimited(answer.scope, retry_after(answer.headers), f"{title} throttles this token")
        case 403 if (wait := retry_after(answer.headers)) is not None:
            return RateLimited(answer.scope, wait, f"{title} asks for patience")
    return None


def not_accepted(answer: Answer, title: str) -> NotTriggered | InDoubt:
    """The error for a trigger whose answer is no receipt: a 4xx started nothing, everything else leaves it open."""
    everything = refused(answer, title)
    if everything is not None:
        return everything
    if not is_refusal(answer):
        odd = "" if answer.status >= 400 else f", {foreign(answer.body)}"
        return InDoubt(f"HTTP {answer.status}{odd}")
    if answer.status == 403 or not isinstance(answer.body, Mapping):
        return refused_before(answer, title)
    code = "not_found" if answer.status == 404 else f"http_{answer.status}"
    return rejected(code, f"{title} refuses the trigger (HTTP {answer.status})", quoted(message_in(answer.body)))


def not_done(answer: Answer, title: str) -> NotTriggered:
    """As above, of a call that is known to have done nothing, whatever its answer is."""
    error = not_accepted(answer, title)
    return error if isinstance(error, NotTriggered) else Rejected(f"http_{answer.status}", str(error))


def is_refusal(answer: Answer) -> bool:
    """Whether the status says that nothing was started."""
    return 400 <= answer.status < 500 and answer.status not in UNDECIDED


def refused_before(answer: Answer, title: str, *, secret: bool = False) -> Rejected:
    """The refusal of a trigger in other words than the service's own: it may concern this body, or everything.

    Args:
        secret: the call held a secret, so the words are not repeated.
    """
    told = "its words are not repeated" if secret else told_by(answer.body)
    reason = f"something before {title} refuses this trigger (HTTP {answer.status}: {told})"
    return Rejected(f"http_{answer.status}", reason, is_foreign=True)


def not_welcome(
    answer: Answer, url: str, title: str, remedy: str = "correct the account's `url`"
) -> AccessRefused | None:
    """The refusal of the account where its first page, that of its user, is not the service's; None where it may be.

    Args:
        answer: none that shows a user.
    """
    refusal = refused(answer, title)
    if refusal is not None or not (is_refusal(answer) or answer.status < 300):
        return refusal if isinstance(refusal, AccessRefused) else None
    found = f"HTTP {answer.status}, {told_by(answer.body)}"
    if answer.status == 403:
        return AccessRefused("access_refused", f"{url} refuses us: {found}; check `url`, the token's rights, the proxy")
    return AccessRefused("not_the_provider", f"{url} is not {title}: {found}; {remedy}")


def check_receipt(
    trigger: Trigger, answer: Answer, *, text: object, repo: Collection[object] = (), branch: object = None
) -> None:
    """Makes sure that a receipt is about this trigger: answers are not matched to questions by their order alone.

    Args:
        text: what the receipt shows where the marker was sent.
        repo: by what names the receipt shows the repository, and `branch`; what is None it does not show.

    Raises:
        InDoubt: it shows something else than was asked, or nothing of it. The connection is closed: what comes over
            it next may belong to another question, too.
    """
    target, shown = trigger.target, {str(name).lower() for name in repo if name is not None}
    checks = (
        ("marker", trigger.marker, isinstance(text, str) and str(trigger.marker) in text),
        ("repository", shown or None, target.repo.lower() in shown),
        ("branch", target.branch and branch, str(branch).removeprefix("refs/heads/") == target.branch),
    )
    asked = [(what, is_same) for what, is_asked, is_same in checks if is_asked]
    wrong = next((what for what, is_same in asked if not is_same), None if asked else "repository")
    if wrong is not None:
        raise other_question(answer, f"its {wrong} is not the one that was asked for")


def other_question(answer: Answer, why: str) -> InDoubt:
    """The error for an answer that is not to what was asked; its connection is closed."""
    answer.hang_up()
    return InDoubt(f"HTTP {answer.status}, an answer to another question: {why}")


def read_failed(
    answer: Answer, path: str, title: str, said: str = "", kind: type[LookFailed] = LookFailed
) -> NotTriggered | LookFailed:
    """The error for a call that only reads and was not answered as it should be; `said` are the service's words."""
    odd = f"not the JSON of {title}" if answer.status == 200 else f"HTTP {answer.status}"
    return refused(answer, title) or kind(f"{path}: {odd}{f' ({said})' if said and answer.status >= 400 else ''}")


def listed(answer: Answer, found: object, path: str, title: str) -> list[Mapping[str, Any]]:
    """The JSON objects of a listing.

    Args:
        found: where in the answer the listing should stand.

    Raises:
        LookFailed: it does not stand there, or holds something else.
    """
    objects = rows(found)
    if answer.status != 200 or not isinstance(found, list) or len(objects) != len(found):
        raise read_failed(answer, path, title)
    return objects


def rejected(code: str, reason: str, detail: str) -> Rejected:
    """A refusal of one target, with the service's own words where it has some."""
    return Rejected(code, f"{reason} ({detail})" if detail else reason)


def foreign(body: Json) -> str:
    """What a body is that is not the service's."""
    if body in (None, ""):
        return "it answers with nothing"
    if isinstance(body, str):
        return "it answers with a web page" if is_page(body) else f"it answers {quoted(body, 60)!r}"
    return "it answers with JSON of another kind"


def is_page(body: Json) -> bool:
    """Whether a body is a web page, as a proxy or a portal answers in place of the service."""
    return isinstance(body, str) and body.lstrip()[:15].lower().startswith(("<!doctype", "<html"))


def end_of(body: Json, at_most: int) -> str:
    """The last bytes of a text, such as a log; one that looks like JSON is a text, too."""
    shown = body if isinstance(body, str) else json.dumps(body)
    return shown.encode()[-at_most:].decode("utf-8", "ignore") if at_most > 0 else ""


def told_by(body: Json) -> str:
    """What a body that is not the service's says, or what it is."""
    return (quoted(message_in(body), 100) if isinstance(body, Mapping) else "") or foreign(body)


def message_in(body: Json) -> str:
    """The text in which most services say what is wrong; empty where there is none."""
    if isinstance(body, str):
        return body
    found = (mapping(body).get(key) for key in ("message", "error_message", "error", "detail"))
    return next((text for text in found if isinstance(text, str)), "")


def known_word(
    word: str, states: Mapping[str, BuildState], title: str, what: str = "build"
) -> tuple[BuildState, str | None]:
    """What a service's word for a build means; one that is not known here is still going, with a warning."""
    if word in states:
        return states[word], None
    told = f"{title} says that the {what} is {word!r}, a word not known here; it is taken as still going"
    return BuildState.RUNNING, told


def quoted(value: object, at_most: int = 300) -> str:
    """A server's text, fit to be shown: one line, no control characters, not long; empty for what is no text."""
    text = value if isinstance(value, str) else ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * at_most]).split())
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) and not isinstance(value, Doubled) else {}


def rows(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a JSON list."""
    entries = value if isinstance(value, list) else ()
    return [row for row in entries if isinstance(row, Mapping) and not isinstance(row, Doubled)]


def number(value: object) -> int | None:
    """An id as services write it: a positive 64-bit integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None


def text(value: object, at_most: int = 1000) -> str | None:
    """Text of bounded length, or None."""
    return value[:at_most] if isinstance(value, str) and value else None


def instant(value: object) -> float | None:
    """Seconds since the epoch of `2026-01-05T01:02:10Z` (also with milliseconds); None for anything else."""
    if not isinstance(value, str) or not 20 <= len(value) <= 32 or value[10] != "T":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    seconds = moment.timestamp() if moment.tzinfo is not None else -1.0
    return seconds if 0.0 <= seconds < LATEST else None


def lengths(rows: Iterable[Mapping[str, Any]], began: str, ended: str) -> list[float]:
    """Seconds between two instants of each row, where it shows both in their order."""
    spans = [(instant(row.get(began)), instant(row.get(ended))) for row in rows]
    return [end - start for start, end in spans if start is not None and end is not None and end > start]


def timestamp(seconds: float) -> str:
    """An instant as services read it, in whole seconds, rounded down."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
