"""Workflow files of GitHub, and of services that read the same: which input can carry a marker, and what to add."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.frozen import Struct, field
from orchestrator.core.model import Json
from orchestrator.providers.kit.answers import mapping
from orchestrator.providers.kit.plain_yaml import read_plain

MARKER_INPUTS = ("marker", "orchestrator_marker")  # that are looked for
LARGEST = 1024 * 1024  # bytes of a workflow's file


class Workflow(Struct, frozen=True):
    """What matters of a workflow's file.

    Args:
        inputs: that `workflow_dispatch` declares, with what is declared of each.
        run_name: as written.
        is_dispatched: whether it has `on: workflow_dispatch`.
    """

    inputs: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    run_name: str = ""
    is_dispatched: bool = True

    def carrier(self, wished: Iterable[str] = MARKER_INPUTS) -> str | None:
        """The first of these inputs that is declared, and shown by the run's name."""
        return next((name for name in wished if name in self.inputs and self._shows(name)), None)

    def problem(self, sent: Mapping[str, Json]) -> tuple[str, str] | None:
        """Why these inputs would be refused, after the workflow's name, and the remedy; None where they would not."""
        if not self.is_dispatched:
            return "has no `on: workflow_dispatch`", "add it to the workflow's file"
        if unknown := sorted(sent.keys() - self.inputs.keys()):
            remedy = "declare them below `on: workflow_dispatch: inputs:`, or leave them out"
            return f"does not declare {', '.join(unknown)[:200]}", remedy
        for name, said in self.inputs.items():
            if said.get("required") is True and said.get("default") is None and name not in sent:
                return f"wants the input {name}, which is not sent", "write it below `inputs`"
            choices, value = said.get("options"), str(sent.get(name))
            if name in sent and said.get("type") == "choice" and isinstance(choices, list) and choices:
                known = [str(choice) for choice in choices]
                if value not in known:
                    return f"does not take {value[:60]!r} for the input {name}", f"it takes {', '.join(known)[:200]}"
        return None

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
    declared, name = mapping(dispatch.get("inputs")), top.get("run-name")
    inputs = {str(one)[:200]: mapping(said) for one, said in declared.items()}
    is_dispatched = on == "workflow_dispatch" or (isinstance(on, list | Mapping) and "workflow_dispatch" in on)
    return Workflow(inputs, name[:10_000] if isinstance(name, str) else "", is_dispatched)


LINES = """\
run-name: "${{ inputs.marker || github.workflow }}"
on:
  workflow_dispatch:
    inputs:
      marker: {type: string, required: false, default: ""}"""
"""What to add to a workflow so that its runs show their marker."""
