"""What GitHub shows of runs, as our values.

A `conclusion` counts only when the `status` is `completed`; a status that is not known here is still going, a
conclusion that is not known is no success. The end of a run is when it was last updated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.model import Build, BuildState, Json, Target
from orchestrator.providers.github.declaration import REASONS, STATES
from orchestrator.providers.github.wire import shown_in
from orchestrator.providers.kit.answers import instant, number, quoted, text
from orchestrator.providers.kit.listings import markers_in
from orchestrator.providers.port import Followed, Observation

COMPLETED = "completed"


def native_of(status: object, conclusion: object) -> tuple[str, BuildState, str | None]:
    """GitHub's word for a run, what it means, and a warning where the word is not known here."""
    is_over = status == COMPLETED and isinstance(conclusion, str) and bool(conclusion)
    word = quoted(conclusion if is_over else status, 40)
    if word in STATES or word in ("", COMPLETED):
        return word, STATES.get(word, BuildState.RUNNING), None
    taken = "an error" if is_over else "still going"
    state = BuildState.ERRORED if is_over else BuildState.RUNNING
    return word, state, f"GitHub says that the run is {word!r}, a word not known here; it is taken as {taken}"


def build_of(row: Mapping[str, Any], before: Build | None) -> tuple[Build, str | None]:
    """A run as a build, and a warning; `before` is the build as last seen, where it is this one."""
    native, state, warning = native_of(row.get("status"), row.get("conclusion"))
    began = instant(row.get("run_started_at"))
    is_begun = state.is_final or native == "in_progress"
    if before is not None and before.started_at is not None and (began is None or before.started_at >= began):
        began = before.started_at  # seen to begin, after it was queued
    count = number(row.get("run_number"))
    build = Build(
        id=str(row.get("id")),
        state=state,
        native=native,
        number=None if count is None else str(count),
        url=text(row.get("html_url")),
        sha=text(row.get("head_sha"), 64),
        branch=text(row.get("head_branch"), 300),
        created_at=instant(row.get("created_at")),
        started_at=began if is_begun else None,
        finished_at=instant(row.get("updated_at")) if state.is_final else None,
        reason=REASONS.get(native),
    )
    return build, warning


def observed(one: Followed, rows: Iterable[Mapping[str, Any]], *, is_over: bool = True) -> Observation:
    """What these runs of a target show.

    Args:
        is_over: whether no more runs can come; until then none of them has ended.
    """
    builds, warnings, titles = [], [], []
    for row in rows:
        before = one.build if one.build is not None and one.build.id == str(row.get("id")) else None
        build, warning = build_of(row, before)
        titles.append(shown_in(row))
        if is_over or not build.state.is_final:
            builds.append(build)
        warnings += [] if warning is None else [warning]
    seen = [title for title in titles if title is not None]
    marked = any(one.marker in title for title in seen) if one.marker is not None and seen else None
    return Observation(tuple(builds), marked=marked, warning=warnings[0] if warnings else None)


def may_be(target: Target, marker: str | None, row: Mapping[str, Any], ref: Json = None) -> bool:
    """Whether a run without this marker may be one of the target's: no other's, and of its event, workflow, branch.

    Args:
        ref: the default branch, where it is known.
    """
    found = list(markers_in(shown_in(row) or ""))
    if found and marker not in found:
        return False
    event, is_event = row.get("event"), "event" in target.request
    if isinstance(event, str) and event != ("repository_dispatch" if is_event else "workflow_dispatch"):
        return False
    if is_event:
        return True
    wished, path = str(target.request.get("workflow")), row.get("path")
    names = {str(row.get("workflow_id")), str(path).partition("@")[0].rpartition("/")[2]}
    if isinstance(path, str) and wished not in names:
        return False
    branch, head = target.branch or ref, row.get("head_branch")
    return not isinstance(branch, str) or not isinstance(head, str) or branch.removeprefix("refs/heads/") == head
