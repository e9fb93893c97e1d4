"""The values of a manifest's parameters: as given, from the environment, or by default."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.errors import near
from orchestrator.core.template import LONGEST
from orchestrator.manifest.diagnostics import Diagnostics, Place, Problem, Value

FLAG = "-p"


def values_of(
    params: Mapping[str, Value],
    given: Mapping[str, str],
    fallback: Mapping[str, str],
    diagnostics: Diagnostics,
    *,
    strict: bool,
) -> dict[str, str]:
    """Every parameter with its value; what is wrong goes to the diagnostics."""
    for name in given:
        if name not in params:
            diagnostics.problems.append(Problem(FLAG, name[:100], "unknown parameter", near(name, params)))
    values = {}
    for name, written in params.items():
        param = {"default": written} if isinstance(written, str) else written
        value = given.get(name, fallback.get(name.upper(), param.get("default")))
        choices, help_ = param.get("choices", []), param.get("help", "")
        if value is None and strict:
            text = f"the parameter has no value{f' ({help_})' if help_ else ''}"
            remedy = f"give it with -p {name}=VALUE or ORCHESTRATOR_PARAM_{name.upper()}, or write a `default`"
            diagnostics.report(text, remedy, Place(params, name, ("params", name)))
        if value is not None and len(value) > LONGEST:
            place = Place(params, name, ("params", name))
            diagnostics.report(f"the value has {len(value):,} characters", f"at most {LONGEST:,}", place)
            value = ""
        if value is not None and choices and value not in choices:
            text, remedy = f"{value[:100]!r} is not among the choices", f"one of {', '.join(choices)}"
            diagnostics.report(text, remedy, Place(params, name, ("params", name)))
        values[name] = value if value is not None else next(iter(choices), name)
    return values
