"""Exit codes, and the errors that lead to them, sorted by what the caller may do next.

About a call to a provider the question is: may a build exist now?

    NotTriggered      certainly not: ask again, or give up
      Unreachable       the call never left
        Crowded           ... since this machine gives no more connections
        TooLate           ... since it was time to look at the lease again
      RateLimited       the provider's limit; make no calls to this scope for a while
      Rejected          this target is refused for good
      AccessRefused     an entire scope is refused: a dead token, a ban, no credit
    InDoubt           perhaps: look the request up first
      Unreadable        an answer came that cannot be read
    LookFailed        a read gave no answer: read again
      NotShown          the repository is unknown to the provider, or hidden from us

About our own side:

    UsageError        wrong flag, manifest or secret; nothing was sent (exit 2)
    NotStarted        a person or a rule says no before the start (exit 6)
    JournalError      the state cannot be used (exit 7)
      LeaseLost         another process drives this (run, account)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

from orchestrator.core.model import ACCOUNT, Build, Learnt, Scope


class Exit(IntEnum):
    """What the exit code of a verb means; the README has the long form."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IN_DOUBT = 3
    ACCOUNT = 4
    STOPPED = 5
    NOT_STARTED = 6
    STATE = 7
    TIMEOUT = 8
    BUG = 70
    SIGINT = 130
    SIGTERM = 143


SEVEREST_FIRST = (
    Exit.BUG,
    Exit.SIGINT,
    Exit.SIGTERM,
    Exit.STATE,
    Exit.ACCOUNT,
    Exit.STOPPED,
    Exit.IN_DOUBT,
    Exit.TIMEOUT,
    Exit.FAILED,
    Exit.OK,
)


def severest(codes: Iterable[Exit]) -> Exit:
    """The code that wins; OK when there is none."""
    return min(codes, key=SEVEREST_FIRST.index, default=Exit.OK)


def flat(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group and in its nested groups; an error that is not a group by itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from flat(one)
    else:
        yield error


SANDBOX = " --sandbox"  # the end of the suffix of a rehearsal


class OrchestratorError(Exception):
    """Any error that this package raises on purpose."""

    suffix = ""  # what a face appends to the command lines in it

    def text(self, suffix: str = "") -> str:
        """The message; the suffix, such as ` --state DIR`, is appended to each command line that it advises."""
        return re.sub("`(orchestrator [^`]+)`", lambda found: f"`{suffixed(found[1], suffix)}`", str(self))


def suffixed(command: str, suffix: str) -> str:
    """A command line with what a face appends to each, such as ` --state DIR --sandbox`, once."""
    return command + (suffix.removesuffix(SANDBOX) if SANDBOX in command else suffix)


class NotTriggered(OrchestratorError):
    """The provider certainly started nothing for this call."""


class Unreachable(NotTriggered):
    """The call never left this machine: DNS, connect, or a closed connection before the first byte."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


CROWDED = "this process may open no more files (see `ulimit -n`)"


class Crowded(Unreachable):
    """Not sent: this machine gives the process no more connections; fewer at once may do."""


class TooLate(Unreachable):
    """Not sent: so much time went by before its first byte that the lease has to be looked at again."""


class RateLimited(NotTriggered):
    """The provider's limit on one scope is used up.

    Args:
        scope: what to make no calls to.
        retry_after: seconds, or None where the provider does not say.
        learnt: limits that the answer reveals.
        patience: seconds to stay away where the provider does not say, doubled with each refusal in a row.
    """

    def __init__(
        self,
        scope: Scope,
        retry_after: float | None,
        reason: str = "rate limited",
        learnt: tuple[Learnt, ...] = (),
        patience: float | None = None,
    ) -> None:
        super().__init__(f"{reason} ({scope})")
        self.scope = scope
        self.retry_after = retry_after
        self.reason = reason
        self.learnt = learnt
        self.patience = patience


class Rejected(NotTriggered):
    """The provider refused this one target for good.

    Args:
        code: a stable word for reports (`repository_inactive`, `not_found`, ...).
        reason: a sentence for a person.
        is_foreign: the words are not the provider's own: something before it refuses this one, or everything, which
            several repositories in a row tell.
    """

    def __init__(self, code: str, reason: str, *, is_foreign: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.is_foreign = is_foreign


class AccessRefused(NotTriggered):
    """The provider refused an entire scope: make no further calls to it.

    Args:
        code: a stable word (`banned`, `bad_token`, `no_credit`, `tls_refused`, `redirected`, ...).
        reason: a sentence for a person, with the remedy.
        scope: the account (it stops) or an owner (only that owner's targets end).
        retry_after: seconds after which a resume makes sense, or None.
    """

    def __init__(self, code: str, reason: str, scope: Scope = ACCOUNT, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.scope = scope
        self.retry_after = retry_after


class InDoubt(OrchestratorError):
    """The call may have started something; only a lookup can tell.

    Args:
        builds: those that a lookup showed and that may be what it started, the newest first.
    """

    def __init__(self, cause: str, builds: tuple[Build, ...] = ()) -> None:
        super().__init__(cause)
        self.cause = cause
        self.builds = builds


class Unreadable(InDoubt):
    """An answer came, and is none that can be read: no HTTP, or beyond every bound."""


class LookFailed(OrchestratorError):
    """A read gave no answer; it says nothing about the target."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class NotShown(LookFailed):
    """The provider shows nothing of the repository to us, be it unknown or hidden: nor would it take a trigger."""


class UsageError(OrchestratorError):
    """Wrong usage, manifest or secret: exit 2, nothing was sent, no run was made."""


class NotStarted(OrchestratorError):
    """Nothing was started: nothing selected, `expect` not met, overlap, a question answered no: exit 6."""


class JournalError(OrchestratorError):
    """The state cannot be used: exit 7, nothing further was sent."""


class UnknownEvents(JournalError):
    """Events of one run are of a newer version, or damaged: that run is refused, and no other."""


class LeaseLost(JournalError):
    """A newer epoch exists for this (run, account): another process drives it."""


def near(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown word: the nearest known one, or all of them where they are few."""
    import difflib  # only when something is wrong: it would slow every start

    words = sorted(set(known))
    nearest = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if nearest:
        return f"did you mean `{nearest[0]}`?"
    if 0 < len(words) <= 30:
        return f"known here: {', '.join(words)}"
    return "look it up in the reference of the manifest"
