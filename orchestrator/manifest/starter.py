"""The manifest that `init` writes."""

from __future__ import annotations

from importlib import resources

SCHEMA = "orchestrator.schema.json"


def starter() -> str:
    """A commented manifest to start from; `check` accepts it."""
    return resources.files("orchestrator.manifest").joinpath("starter.yaml").read_text("utf-8")
