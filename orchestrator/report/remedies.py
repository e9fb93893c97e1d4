"""What a person can do about a cause, by the stable word that reports have for it; where a service says more, that."""

from __future__ import annotations

REMEDIES = {
    "in_doubt": "look at its page, then say so: resume looks again, and why names the two ways on",
    "build_failed": "its own log says why",
    "failed_every_time": "also when it was started again: its own log says why",
    "build_errored": "usually the build machine or the configuration, not the code",
    "build_canceled": "somebody else did; retry builds it again",
    "superseded": "a newer build of the branch may tell instead",
    "no_build": "the service took the request and never made a build of it",
    "not_started": "the service has no machine free, or the queue is long; timeouts.queue is how long a run waits",
    "not_ended": "timeouts.build is how long a run waits for a build",
    "need_not_passed": "retry builds it once what it needs passes",
    "nothing_built": "the service has nothing to run for this request",
}


def remedy(code: str | None) -> str:
    """What to do about what has this code; empty where the reason says all that is known."""
    return REMEDIES.get(code or "", "")
