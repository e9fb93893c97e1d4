"""What a look-alike is told of the builds to come: which fail, which flake, how long they take, what their logs say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from orchestrator.core.frozen import Struct, field
from orchestrator.core.globs import matches

T = TypeVar("T")


class Rehearsal(Struct, frozen=True):
    """Globs mean a repository or `repo@branch`, as those of `--only` do; where several match, the first one counts.

    Args:
        fails: their builds fail, as often as they are started.
        flakes: their builds fail the first time, and pass when they are started again.
        slow: how long each of their jobs runs, in seconds.
        log: what their jobs print.
    """

    fails: tuple[str, ...] = ()
    flakes: tuple[str, ...] = ()
    slow: Mapping[str, float] = field(default_factory=dict)
    log: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.globs)

    @property
    def globs(self) -> tuple[str, ...]:
        """All that are written."""
        return (*self.fails, *self.flakes, *self.slow, *self.log)

    def over(self, other: Rehearsal) -> Rehearsal:
        """Both; this one counts first."""
        slow = {**self.slow, **{glob: it for glob, it in other.slow.items() if glob not in self.slow}}
        log = {**self.log, **{glob: it for glob, it in other.log.items() if glob not in self.log}}
        return Rehearsal((*self.fails, *other.fails), (*self.flakes, *other.flakes), slow, log)

    def is_to_fail(self, names: Collection[str], branch: str | None, restarts: int) -> bool:
        """Whether a build fails.

        Args:
            names: by which the service knows the repository.
            restarts: how often the build was started again.
        """
        return _any(self.fails, names, branch) or (restarts == 0 and _any(self.flakes, names, branch))

    def seconds(self, names: Collection[str], branch: str | None) -> float | None:
        """How long a job runs; None where nothing is said."""
        return _first(self.slow, names, branch)

    def printed(self, names: Collection[str], branch: str | None) -> str | None:
        """What a job prints; None where nothing is said."""
        return _first(self.log, names, branch)


NOTHING_SAID = Rehearsal()


def is_meant(glob: str, names: Collection[str], branch: str | None) -> bool:
    """Whether the glob means this branch of a repository, by any of its names; case matters in branches only."""
    repo, at, of = glob.partition("@")
    return any(matches(repo, name, fold=True) for name in names) and (not at or matches(of, branch or ""))


def _any(globs: Collection[str], names: Collection[str], branch: str | None) -> bool:
    return any(is_meant(glob, names, branch) for glob in globs)


def _first(said: Mapping[str, T], names: Collection[str], branch: str | None) -> T | None:
    return next((it for glob, it in said.items() if is_meant(glob, names, branch)), None)
