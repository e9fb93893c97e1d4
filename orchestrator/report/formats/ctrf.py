"""The Common Test Report Format (ctrf.io): JSON that many dashboards read. Times are milliseconds."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import Any

from orchestrator import __version__
from orchestrator.core.model import Outcome
from orchestrator.report.groups import word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import clock, epoch

SPEC = "1.0.0"
STATUSES = ("passed", "failed", "skipped", "pending", "other")

_STATUS = {
    Outcome.PASSED: "passed",
    Outcome.SKIPPED: "skipped",
    Outcome.SUPERSEDED: "skipped",
    Outcome.IN_DOUBT: "other",
}


def render(report: Report) -> str:
    """The CTRF document."""
    tests = [_test(row) for row in report.targets]
    document = {
        "reportFormat": "CTRF",
        "specVersion": SPEC,
        "reportId": _uuid(f"run:{report.run.id}"),
        "timestamp": clock(report.as_of) or "1970-01-01T00:00:00Z",
        "generatedBy": f"orchestrator {__version__}",
        "results": {
            "tool": {"name": "orchestrator", "version": __version__},
            "summary": _summary(report, tests),
            "tests": tests,
            "environment": {"reportName": report.run.name, "extra": {"run": report.run.id}},
        },
    }
    return json.JSONEncoder(ensure_ascii=False).encode(document) + "\n"


def status_of(row: Row) -> str:
    """The nearest of CTRF's five words; ours stands in `rawStatus`."""
    return "pending" if row.outcome is None else _STATUS.get(Outcome(row.outcome), "failed")


def _summary(report: Report, tests: list[dict[str, Any]]) -> dict[str, int]:
    counts = Counter(test["status"] for test in tests)
    start = epoch(report.run.started_at) or 0
    stop = epoch(report.run.finished_at)
    times = {"start": start * 1000, "stop": (int(report.as_of) if stop is None else stop) * 1000}
    return {"tests": len(tests), **{name: counts[name] for name in STATUSES}, **times}


def _test(row: Row) -> dict[str, Any]:
    test: dict[str, Any] = {
        "id": _uuid(row.id),
        "name": row.id,
        "status": status_of(row),
        "duration": (row.run_seconds or 0) * 1000,
        "suite": [f"wave {row.wave}", row.repo],
        "rawStatus": word_of(row),
        "tags": list(row.labels),
        "retries": max(0, row.attempts - 1),
        "extra": {"url": row.url, "code": row.code, "branch": row.branch, "sha": row.sha, "build": row.build_number},
    }
    if row.reason is not None and row.outcome != Outcome.PASSED:
        test["message"] = row.reason
    for name, at in (("start", row.started_at), ("stop", row.finished_at)):
        if at is not None:
            test[name] = (epoch(at) or 0) * 1000
    return test


def _uuid(name: str) -> str:
    """Stable, so that dashboards recognise a target from run to run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
