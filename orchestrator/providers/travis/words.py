"""Travis' words in ours: answers of any shape are read here without trust, and errors sorted by what to do next.

Branch on the status and `error_type`, never on a message; only the plain-text bodies and the texts of rejected
requests leave no choice. Whatever is quoted from a server is cut and cleaned before a person sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from orchestrator.core.errors import AccessRefused, LookFailed, NotTriggered, RateLimited, Rejected
from orchestrator.core.model import ACCOUNT, Json, Refusal, owner_scope
from orchestrator.limits.headers import retry_after
from orchestrator.providers.port import Answer

BAN = 3600.0  # seconds that a ban lasts
MINUTE = 60.0  # the throttle counts calls in whole minutes of the server's clock
GRACE = 1.0  # seconds beyond the minute, for clocks that show whole seconds

_BAD_TOKEN = frozenset({"wrong_credentials", "login_required"})

# The known texts of rejected requests, by prefix in lower case; texts vary between versions.
_REFUSALS = (
    ("could not authorize build request", "no_credit"),
    ("abuse detected", "abuse"),
    ("job rejected. abuse detected", "abuse"),
    ("build skipped via commit message", "skipped_by_message"),
    ("branch excluded per configuration", "branch_excluded"),
    ("branch not included per configuration", "branch_excluded"),
    ("build type disabled via repository settings", "build_type_disabled"),
    ("build config did not create any jobs", "no_jobs"),
    ("matrix created no jobs", "no_jobs"),
    ("github payload is missing a merge commit", "missing_merge_commit"),
    ("missing commit", "missing_commit"),
    ("config is missing", "config_error"),
    ("github pages branch", "github_pages_branch"),
    ("private repository", "private_repository"),
    ("excluded repository", "excluded_repository"),
)
_OF_THE_OWNER = frozenset({"no_credit", "abuse"})


def said(value: object, at_most: int = 300) -> str:
    """A server's text, fit to be shown: one line, no control characters, not long."""
    text = value if isinstance(value, str) else ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * at_most]).split())
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a JSON list."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def number(value: object) -> int | None:
    """An id as Travis writes it: a positive 64-bit integer."""
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
    return moment.timestamp() if moment.tzinfo is not None else None


def stamp(seconds: float) -> str:
    """An instant as Travis reads it, in whole seconds, rounded down."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def server_time(answer: Answer) -> float | None:
    """The server's clock as the answer shows it."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def error_type(answer: Answer) -> str:
    """Travis' word for the error; empty where the body is none of its JSON errors."""
    return said(mapping(answer.body).get("error_type"), 60)


def everybody_refused(answer: Answer) -> NotTriggered | None:
    """The refusals that any call may get, whatever it asked for: a dead token, a ban, the throttle."""
    kind = error_type(answer)
    if answer.status == 429 and kind != "request_limit_reached":
        return RateLimited(ACCOUNT, patience(answer), "Travis throttles this token: too many calls in a minute")
    if answer.status == 401 or (answer.status == 403 and kind in _BAD_TOKEN):
        return _bad_token(kind or f"HTTP {answer.status}")
    if answer.status != 403 or isinstance(answer.body, Mapping):
        return None
    plain = said(answer.body, 100)
    if plain.lower().startswith("access denied"):
        return _bad_token("access denied")
    if plain.lower().startswith("forbidden"):
        return AccessRefused(
            "banned",
            "Travis has banned this token for an hour, as after too many POSTs in 30 seconds; nothing more is sent; "
            "find out what else uses the token, and resume in an hour",
            retry_after=BAN,
        )
    return AccessRefused(
        "access_refused", f"something before Travis refuses us (HTTP 403: {plain or 'no text'}); check `url` and proxy"
    )


def patience(answer: Answer) -> float:
    """Seconds until the throttle forgets: as said, else to the server's next whole minute."""
    wanted = retry_after(answer.headers)
    if wanted is not None:
        return wanted
    now = server_time(answer)
    return MINUTE if now is None else MINUTE - now % MINUTE + GRACE


def look_failed(answer: Answer, what: str) -> NotTriggered | LookFailed:
    """The error for a look that was not answered as it should be."""
    refused = everybody_refused(answer)
    if refused is not None:
        return refused
    kind = error_type(answer)
    odd = "not the JSON of the Travis API" if answer.status == 200 else f"HTTP {answer.status}"
    return LookFailed(f"{what}: {odd}{f' {kind}' if kind else ''}")


def not_the_provider(url: str, found: str) -> AccessRefused:
    """The URL leads to something else."""
    return AccessRefused(
        "not_the_provider",
        f"{url} is not a Travis API: {found}; correct the account's `url` (https://api.travis-ci.com, or https://HOST/api)",
    )


def foreign(body: Json) -> str:
    """What a body is that is not Travis'."""
    if isinstance(body, str):
        lead = body.lstrip()[:15].lower()
        html = lead.startswith(("<!doctype", "<html"))
        return "it answers with a web page" if html else f"it answers {said(body, 60)!r}"
    return "it answers with JSON of another kind"


def refusal_of(message: object, owner: str) -> Refusal:
    """Why Travis rejected a request that it had taken; credit, plan and abuse concern everything of the owner."""
    shown = said(message)
    plain = shown.lower()
    code = next((code for prefix, code in _REFUSALS if plain.startswith(prefix)), "request_rejected")
    if code == "request_rejected" and "200 jobs" in plain:
        code = "too_many_jobs"
    scope = owner_scope(owner) if code in _OF_THE_OWNER else None
    return Refusal(code, shown or "Travis rejected the request and gave no reason", scope)


def rejected(code: str, reason: str, detail: str) -> Rejected:
    """A refusal of one target, with Travis' own words where it has some."""
    return Rejected(code, f"{reason} ({detail})" if detail else reason)


def _bad_token(found: str) -> AccessRefused:
    return AccessRefused(
        "bad_token",
        f"Travis does not accept the token ({found}); it is wrong, expired, or belongs to another Travis; "
        "get one with `travis token` or from the web settings, and resume",
    )
