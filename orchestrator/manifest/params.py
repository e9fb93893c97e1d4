"""The values of a manifest's parameters."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.manifest.diagnostics import Problem, near
from orchestrator.manifest.files import Files
from orchestrator.manifest.yaml_reader import Value

FLAG = "-p"


def values_of(
    said: Mapping[str, Value],
    given: Mapping[str, str],
    fallback: Mapping[str, str],
    files: Files,
    *,
    strict: bool,
) -> dict[str, str]:
    """Every parameter with its value; what is wrong goes to the files' problems."""
    for name in given:
        if name not in said:
            files.problems.append(Problem(FLAG, name[:100], "unknown parameter", near(name, said)))
    values = {}
    for name, param in said.items():
        default = param if isinstance(param, str) else param.get("default")
        value = given.get(name, fallback.get(name.upper(), default))
        choices = [] if isinstance(param, str) else param.get("choices", [])
        if value is None and strict:
            help_ = "" if isinstance(param, str) else param.get("help", "")
            text = f"the parameter has no value{f' ({help_})' if help_ else ''}"
            remedy = f"give it with -p {name}=VALUE or ORCHESTRATOR_PARAM_{name.upper()}, or write a `default`"
            files.say(text, remedy, said, name, ("params", name))
        if value is not None and choices and value not in choices:
            files.say(
                f"{value[:100]!r} is not among the choices",
                f"one of {', '.join(choices)}",
                said,
                name,
                ("params", name),
            )
        values[name] = value if value is not None else next(iter(choices), name)
    return values
