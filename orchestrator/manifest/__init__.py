"""The manifest: a YAML file of builds that we want, read, checked and expanded into a plan.

manifest = read("orchestrator.yaml", text, declarations=known(), load=load)
while asked := questions(manifest, answers):
    answers = ...                                   # ask the providers
plan = expand(manifest, answers, today=today)
"""

from orchestrator.core.times import parse_duration, parse_limit
from orchestrator.manifest.diagnostics import ManifestError, Problem
from orchestrator.manifest.load import Manifest, expand, from_lines, from_repos, questions, read, starter
from orchestrator.manifest.lookups import Answers, Narrowed, Questions
from orchestrator.manifest.validate import json_schema

__all__ = [
    "Answers",
    "Manifest",
    "ManifestError",
    "Narrowed",
    "Problem",
    "Questions",
    "expand",
    "from_lines",
    "from_repos",
    "json_schema",
    "parse_duration",
    "parse_limit",
    "questions",
    "read",
    "starter",
]
