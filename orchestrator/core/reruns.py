"""Which builds that failed are started again: as often as is written, and none once too many of a wave failed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from orchestrator.core.model import BuildState, Target
from orchestrator.core.progress import Progress
from orchestrator.core.waves import Wave

FAILED = (BuildState.FAILED, BuildState.ERRORED)


def is_wanted(target: Target, progress: Progress) -> bool:
    """Whether the target's build has failed, and its manifest lets it be started again."""
    build = progress.build
    if build is None or build.state not in FAILED or progress.verdict is not None or progress.canceling_at is not None:
        return False
    return progress.reruns < target.reruns.times


class Places:
    """How many targets of each wave are started again; taken up from the journal, then taken one by one.

    Args:
        waves: all of the run.
        known: by id, of the targets that have any progress.
        tell: is told the name of a wave of which no more targets are started again, once.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        waves: Sequence[Wave],
        known: Mapping[str, Progress],
        tell: Callable[[str, int], None] = lambda name, targets: None,
    ) -> None:
        self._waves = {wave.number: wave for wave in waves}
        self._taken: defaultdict[int, set[str]] = defaultdict(set)
        self._closed: set[int] = set()
        self._due: dict[str, int] = {}  # by id, the reruns before the one that is due
        self._tell = tell
        for target in targets:
            progress = known.get(target.id) if target.reruns.times else None
            if progress is not None and progress.was_rerun:
                self._taken[target.wave].add(target.id)

    def take(self, target: Target, progress: Progress) -> bool:
        """Whether the build of a target is to be started again; if so, it has its place from now on."""
        if not is_wanted(target, progress):
            return False
        if self._due.get(target.id) == progress.reruns:  # said before: it stays so until it was started
            return True
        taken = self._taken[target.wave]
        if target.wave not in self._closed and (target.id in taken or len(taken) < self._most(target)):
            taken.add(target.id)
            self._due[target.id] = progress.reruns
            return True
        if target.wave in self._closed:
            return False
        self._closed.add(target.wave)
        wave = self._waves.get(target.wave)
        self._tell(str(target.wave) if wave is None else wave.name, len(taken))
        return False

    def _most(self, target: Target) -> float:
        text, wave = target.reruns.at_most, self._waves.get(target.wave)
        if not text or wave is None:
            return math.inf
        return math.ceil(Fraction(text[:-1]) * wave.targets / 100) if text.endswith("%") else int(text)
