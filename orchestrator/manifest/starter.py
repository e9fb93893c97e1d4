"""The manifest that `init` writes."""

from __future__ import annotations

SCHEMA = "orchestrator.schema.json"


def starter() -> str:
    """A commented manifest to start from; `check` accepts it."""
    from importlib import resources  # slow to import, and only `init` needs it

    return resources.files("orchestrator.manifest").joinpath("starter.yaml").read_text("utf-8")
