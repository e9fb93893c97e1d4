"""What Buildbot shows of requests and their builds, as our values.

The request is what is followed: it may have no build (merged, or canceled in the queue), or several (started again when
a master died: those ended as `retry`, which is no end of the request). Times are whole seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Build, BuildState
from orchestrator.providers.buildbot.declaration import RESULTS, STATES
from orchestrator.providers.buildbot.wire import request_url
from orchestrator.providers.kit.answers import LATEST, mapping, number, quoted

QUEUED = "request-"  # before the number of a request: its id as a build, as long as it has none
REQUEST_FIELDS = (
    *("buildrequestid", "buildsetid", "builderid", "claimed", "complete", "results", "submitted_at", "complete_at"),
)
BUILD_FIELDS = (
    *("buildid", "number", "builderid", "buildrequestid", "results", "state_string", "started_at", "complete_at"),
    "properties",
)
MERGED = "merged into a newer request for the same builder and branch"


class Seen(Struct, frozen=True):
    """A request and its builds, oldest first; `url` is the server's."""

    row: Mapping[str, Any]
    builds: Sequence[Mapping[str, Any]]
    url: str

    @property
    def id(self) -> int:
        """Its number."""
        return number(self.row.get("buildrequestid")) or 0

    @property
    def is_complete(self) -> bool:
        """Whether no build of it will come any more."""
        return self.row.get("complete") is True

    def shown(self) -> tuple[list[Build], str | None]:
        """As builds, the deciding one first, and a warning where a word is not known."""
        native, state, warning = native_of(self.row)
        if not self.builds:
            return [self._place(native, state)], warning
        *earlier, last = self.builds
        return [self._build(last, native, state), *(self._retried(one) for one in earlier)], warning

    def _place(self, native: str, state: BuildState) -> Build:
        """The request itself, while it has no build, or because it never got one."""
        merged = MERGED if state is BuildState.SUPERSEDED else None
        ended = at(self.row.get("complete_at")) if state.is_final else None
        made = at(self.row.get("submitted_at"))
        url = request_url(self.url, self.id)
        return Build(f"{QUEUED}{self.id}", state, native, url=url, created_at=made, finished_at=ended, reason=merged)

    def _build(self, row: Mapping[str, Any], native: str, state: BuildState) -> Build:
        properties, count = mapping(row.get("properties")), number(row.get("number"))
        bad = state.is_final and state is not BuildState.PASSED
        return Build(
            id=str(row.get("buildid")),
            state=state,
            native=native,
            number=None if count is None else str(count),
            url=f"{self.url}/#/builders/{row.get('builderid')}/builds/{row.get('number')}",
            sha=_property(properties, "got_revision"),
            branch=_property(properties, "branch"),
            created_at=at(self.row.get("submitted_at")),
            started_at=at(row.get("started_at")),
            finished_at=at(row.get("complete_at")) if state.is_final else None,
            reason=(quoted(row.get("state_string"), 200) or None) if bad else None,
            replaces=f"{QUEUED}{self.id}",
        )

    def _retried(self, row: Mapping[str, Any]) -> Build:
        """An attempt after which another came: it decides nothing."""
        return self._build(row, "retry", BuildState.SKIPPED)


def native_of(row: Mapping[str, Any]) -> tuple[str, BuildState, str | None]:
    """Buildbot's word for a request, what it means, and a warning where it is not known here."""
    if row.get("complete") is not True:
        word = "claimed" if row.get("claimed") is True else "unclaimed"
        return word, STATES[word], None
    results = row.get("results")
    if isinstance(results, int) and not isinstance(results, bool) and 0 <= results < len(RESULTS):
        return RESULTS[results], STATES[RESULTS[results]], None
    word = quoted(str(results), 40) if isinstance(results, int | str) else "complete"
    told = f"Buildbot says that the request ended with {word!r}, a result not known here; it is taken as still going"
    return word, BuildState.RUNNING, told


def at(value: object) -> float | None:
    """An instant as Buildbot writes it; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < LATEST else None  # type: ignore[operator,arg-type]  # it is one


def _property(properties: Mapping[str, Any], name: str) -> str | None:
    """The text of a property, which stands beside its source."""
    found = properties.get(name)
    value = found[0] if isinstance(found, list) and found else None
    return value[:300] if isinstance(value, str) and value else None
