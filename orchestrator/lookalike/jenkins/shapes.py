"""How rows are shown: whole objects, of which `tree=` picks fields; nested ones are made when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.frozen import Struct, field
from orchestrator.lookalike.jenkins.rows import Item, Job, Tables
from orchestrator.lookalike.kit.http import Object
from orchestrator.lookalike.kit.life import Stage

MOST_BUILDS = 100  # that `builds` has; `allBuilds` has all
_TOKENS = re.compile(r"(\w+(?![^{]*\}))|(\[)|(\])|\{(\d*),?(\d*)\}")
BALLS = {"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red", "ABORTED": "aborted"}


class Tree(Struct):
    """The fields that are asked for: each with those below it, and with the range of a list."""

    fields: dict[str, Tree] = field(default_factory=dict)
    start: int = 0
    end: int | None = None

    def pick(self, value: Any) -> Any:
        """What it leaves of a value; nested values are made now."""
        value = value() if callable(value) else value
        if isinstance(value, Mapping):
            kept = {name: tree.pick(value[name]) for name, tree in self.fields.items() if name in value}
            return {"_class": value["_class"], **kept} if "_class" in value else kept
        if isinstance(value, list):
            return [self.pick(one) for one in value[self.start : self.end]]
        return value


def parse(text: str) -> Tree:
    """The tree of a query, `a,b[c,d]{0,5}`."""
    root = last = Tree()
    stack = [root]
    for word, opens, closes, start, end in _TOKENS.findall(text):
        if word:
            last = stack[-1].fields.setdefault(word, Tree())
        elif opens:
            stack.append(last)
        elif closes and len(stack) > 1:
            stack.pop()
            last = next(reversed(stack[-1].fields.values()))
        elif start or end:
            last.start, last.end = int(start or 0), int(end) if end else None
    return root


def shallow(value: Any, depth: int = 0) -> Any:
    """A value as it is shown without a tree: of nested objects their names and addresses alone."""
    value = value() if callable(value) else value
    if isinstance(value, list):
        return [shallow(one, depth) for one in value]
    if not isinstance(value, Mapping) or depth < 0:
        return value
    if depth == 0:
        shown = {name: it() if callable(it) else it for name, it in value.items() if name not in ("allBuilds",)}
        short = ("_class", "name", "url", "color", "number", "fullName")
        return {name: _short(it, short) if name in ("jobs", "builds") else it for name, it in shown.items()}
    return {name: shallow(it, depth - 1) for name, it in value.items() if name != "allBuilds"}


def _short(found: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> list[Object]:
    return [{name: one[name] for name in names if name in one} for one in found]


class Shapes:
    """Shows rows to one call; `base` is the address by which it came."""

    def __init__(self, tables: Tables, base: str, now: float) -> None:
        self.tables = tables
        self.base = base
        self.now = now

    def url(self, job: Job) -> str:
        """The address of a job."""
        path = "".join(f"/job/{quote(name, safe='')}" for name in job.path)
        return f"{self.base}{path}/"

    def job(self, job: Job) -> Object:
        """A job or a folder; at the top the Jenkins itself."""
        name = job.path[-1] if job.path else ""
        shown: Object = {"_class": job.kind, "name": name, "url": self.url(job), "fullName": "/".join(job.path)}
        shown |= {"displayName": name, "fullDisplayName": " » ".join(job.path), "description": None}
        if job.jobs or not job.path:
            self_ = {"mode": "NORMAL", "useCrumbs": True, "views": [], "numExecutors": 2} if not job.path else {}
            return {**shown, **self_, "jobs": lambda: [self.job(one) for one in job.jobs.values()]}
        builds = [item for item in reversed(job.builds) if item.visible_at <= self.now]
        last = builds[0].outcome if builds else None
        declared = [{"_class": "hudson.model.StringParameterDefinition", "name": name,
                     "type": "StringParameterDefinition", "defaultParameterValue": {"name": name, "value": ""}}
                    for name in job.spec.parameters]  # fmt: skip
        kind = "hudson.model.ParametersDefinitionProperty"
        waiting = [item for item in self.tables.waiting.values() if item.is_waiting and item.job is job]
        return {
            **shown, "buildable": job.spec.active, "inQueue": bool(waiting), "keepDependencies": False,
            "color": BALLS.get(last or "", "notbuilt") if job.spec.active else "disabled",
            "property": [{"_class": kind, "parameterDefinitions": declared}] if declared else [],
            "nextBuildNumber": len(job.builds) + 1,
            "lastBuild": lambda: self.build(builds[0]) if builds else None,
            "builds": lambda: [self.build(item) for item in builds[:MOST_BUILDS]],
            "allBuilds": _Lazy(builds, self.build),
        }  # fmt: skip

    def item(self, item: Item) -> Object:
        """An item of the queue, or one that has left it."""
        waits = item.is_waiting
        shown: Object = {
            "_class": f"hudson.model.Queue${'BuildableItem' if waits else 'LeftItem'}", "id": item.id,
            "why": "Waiting for next available executor" if waits else None, "blocked": False, "stuck": False,
            "buildable": waits, "inQueueSince": int(item.created_at * 1000), "url": f"queue/item/{item.id}/",
            "params": "".join(f"\n{name}={value}" for name, value in item.sent.items()),
            "task": {"_class": item.job.kind, "name": item.job.path[-1], "url": self.url(item.job)},
            "actions": self._actions(item),
        }  # fmt: skip
        if waits:
            return shown
        own = {"number": item.number, "url": f"{self.url(item.job)}{item.number}/", "_class": _kind(item)}
        return {**shown, "cancelled": item.number is None, "executable": None if item.number is None else own}

    def build(self, item: Item) -> Object:
        """A build."""
        is_over, name = item.stage is Stage.OVER, f"#{item.number}"
        took = int((item.updated_at - (item.ran_at or 0.0)) * 1000) if is_over else 0
        return {
            "_class": _kind(item), "id": str(item.number), "number": item.number, "queueId": item.id,
            "url": f"{self.url(item.job)}{item.number}/", "displayName": name, "description": None,
            "fullDisplayName": f"{' » '.join(item.job.path)} {name}", "building": not is_over,
            "inProgress": not is_over, "result": item.outcome, "duration": took,
            "timestamp": int((item.ran_at or 0.0) * 1000), "estimatedDuration": -1,
            "keepLog": False, "artifacts": [], "builtOn": "", "changeSet": {"items": []},
            "actions": self._actions(item),
        }  # fmt: skip

    def _actions(self, item: Item) -> list[Object]:
        cause = {"_class": "hudson.model.Cause$UserIdCause", "userId": self.tables.settings.login}
        causes = {"_class": "hudson.model.CauseAction", "causes": [cause]}
        given = [
            {"_class": "hudson.model.StringParameterValue", "name": name, "value": it} for name, it in item.sent.items()
        ]
        return [causes, *([{"_class": "hudson.model.ParametersAction", "parameters": given}] if given else [])]


class _Lazy(list[Any]):
    """Builds, of which only those of the range are shown."""

    def __init__(self, items: list[Item], show: Callable[[Item], Object]) -> None:
        super().__init__((lambda item=item: show(item)) for item in items)


def _kind(item: Item) -> str:
    is_pipeline = item.job.kind.endswith("WorkflowJob")
    return "org.jenkinsci.plugins.workflow.job.WorkflowRun" if is_pipeline else "hudson.model.FreeStyleBuild"
