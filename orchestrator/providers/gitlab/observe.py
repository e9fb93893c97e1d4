"""What GitLab shows of pipelines, as our values. A status that is not known here is still going."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.core.model import Build, BuildState
from orchestrator.providers.gitlab.declaration import REASONS, STATES
from orchestrator.providers.kit.answers import instant, mapping, number, quoted, text


def native_of(status: object) -> tuple[str, BuildState, str | None]:
    """GitLab's word for a pipeline, what it means, and a warning where the word is not known here."""
    word = quoted(status, 40)
    if word in STATES:
        return word, STATES[word], None
    told = f"GitLab says that the pipeline is {word!r}, a word not known here; it is taken as still going"
    return word, BuildState.RUNNING, told


def build_of(row: Mapping[str, Any]) -> tuple[Build, str | None]:
    """A pipeline as a build, and a warning."""
    native, state, warning = native_of(row.get("status"))
    has_warnings = mapping(row.get("detailed_status")).get("group") == "success-with-warnings"
    count = number(row.get("iid"))
    build = Build(
        id=str(row.get("id")),
        state=state,
        native=native,
        number=None if count is None else str(count),
        url=text(row.get("web_url")),
        sha=text(row.get("sha"), 64),
        branch=text(row.get("ref"), 300),
        created_at=instant(row.get("created_at")),
        started_at=instant(row.get("started_at")),
        finished_at=(instant(row.get("finished_at")) or instant(row.get("updated_at"))) if state.is_final else None,
        reason="with warnings: a job that may fail did" if has_warnings else REASONS.get(native),
    )
    return build, warning
