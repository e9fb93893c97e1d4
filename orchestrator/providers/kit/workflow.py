"""Workflow files of GitHub, and of services that read the same: which input can carry a marker, and what to add."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct
from orchestrator.core.model import Json
from orchestrator.providers.kit.answers import mapping
from orchestrator.providers.kit.plain_yaml import read_plain

MARKER_INPUTS = ("marker", "orchestrator_marker")  # that are looked for
LARGEST = 1024 * 1024  # bytes of a workflow's file


class Workflow(Struct, frozen=True):
    """What matters of a workflow's file.

    Args:
        inputs: that `workflow_dispatch` declares.
        run_name: as written.
    """

    inputs: tuple[str, ...] = ()
    run_name: str = ""

    def carrier(self, wished: Iterable[str] = MARKER_INPUTS) -> str | None:
        """The first of these inputs that is declared, and shown by the run's name."""
        return next((name for name in wished if name in self.inputs and self._shows(name)), None)

    def _shows(self, name: str) -> bool:
        return re.search(rf"\binputs(?:\.|\[['\"]){re.escape(name)}(?![\w-])", self.run_name) is not None


def read_workflow(body: Mapping[str, Any]) -> Workflow | None:
    """The workflow of what GitHub shows of its file; None where it is none that can be read."""
    raw = body.get("content")
    if body.get("encoding") != "base64" or not isinstance(raw, str) or len(raw) > 2 * LARGEST:
        return None
    try:
        found = read_plain(base64.b64decode(raw), LARGEST)  # GitHub has no `<<` either
    except ValueError:  # also where it is not base64
        return None
    if not isinstance(found, Mapping):
        return None
    top: Mapping[Any, Json] = found
    on = top.get("on", top.get(True))  # YAML reads a bare `on` as true
    dispatch = mapping(mapping(on).get("workflow_dispatch"))
    inputs, name = dispatch.get("inputs"), top.get("run-name")
    names = tuple(str(name)[:200] for name in inputs) if isinstance(inputs, Mapping) else ()
    return Workflow(names, name[:10_000] if isinstance(name, str) else "")


LINES = """\
run-name: "${{ inputs.marker || github.workflow }}"
on:
  workflow_dispatch:
    inputs:
      marker: {type: string, required: false, default: ""}"""
"""What to add to a workflow so that its runs show their marker."""
