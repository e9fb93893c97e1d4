"""JUnit XML: a suite is a wave, a case is a target. Valid for Jenkins' schema; for Ant's while no log was read.

`failure` is a build that failed; `error` is everything else without a verdict on the code: errored, canceled, rejected,
timed out, in doubt, open; `skipped` is skipped and superseded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from orchestrator.core.causes import Cause
from orchestrator.core.model import Outcome
from orchestrator.report.groups import reason_of, word_of
from orchestrator.report.view import Report, Row
from orchestrator.report.words import plain, shell

_ELEMENT = {Outcome.PASSED: "", Outcome.FAILED: "failure", Outcome.SKIPPED: "skipped", Outcome.SUPERSEDED: "skipped"}


def render(report: Report) -> Iterator[str]:
    """The XML document."""
    waves: dict[int, list[Row]] = {}
    for row in report.targets:
        waves.setdefault(row.wave, []).append(row)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'
    for number, (wave, rows) in enumerate(sorted(waves.items())):
        yield from _suite(report, number, wave, rows)
    yield "</testsuites>\n"


def element_of(row: Row) -> str:
    """`failure`, `error` or `skipped`; empty for what passed."""
    return "error" if row.outcome is None else _ELEMENT.get(Outcome(row.outcome), "error")


def _suite(report: Report, number: int, wave: int, rows: Sequence[Row]) -> Iterator[str]:
    kinds = [element_of(row) for row in rows]
    attributes: dict[str, str | int] = {
        "name": f"wave {wave}",
        "id": number,
        "package": report.run.name or "run",
        "hostname": "localhost",  # Ant's schema demands one; a run has none
        "timestamp": (report.run.started_at or "1970-01-01T00:00:00Z").removesuffix("Z"),  # Ant's has no zone
        "tests": len(rows),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
        "time": sum(row.run_seconds or 0 for row in rows),
    }
    yield f"  <testsuite{_written(attributes)}>\n    <properties>\n"
    for name, value in (("run", report.run.id), ("manifest", report.run.manifest), ("status", report.run.status)):
        yield f"      <property{_written({'name': name, 'value': value or ''})}/>\n"
    yield "    </properties>\n"
    for row, kind in zip(rows, kinds, strict=True):
        yield _case(report, row, kind)
    yield "    <system-out/>\n    <system-err/>\n  </testsuite>\n"


def _case(report: Report, row: Row, kind: str) -> str:
    start = f"    <testcase{_written({'name': row.id, 'classname': row.repo, 'time': row.run_seconds or 0})}"
    if not kind:
        return f"{start}/>\n"
    message = f"{word_of(row)}: {reason_of(row)}"
    if kind == "skipped":
        return f"{start}><skipped{_written({'message': message})}/></testcase>\n"
    lines = escape("\n".join(_details(report, row)))
    attributes = _written({"message": message, "type": row.code or word_of(row)})
    out = "" if row.cause is None else f"<system-out>{_printed(row.cause)}</system-out>"
    return f"{start}><{kind}{attributes}>{lines}</{kind}>{out}</testcase>\n"


def _details(report: Report, row: Row) -> Iterator[str]:
    if row.url is not None:
        yield plain(row.url)
    if row.build_number is not None:
        yield plain(f"build {row.build_number}")
    if row.request_id is not None:
        yield plain(f"request {row.request_id}")
    yield f"orchestrator why {row.run or report.run.id} {shell(row.id)}{report.suffix}"


def _printed(cause: Cause) -> str:
    """The last lines of the log, each without what XML cannot hold."""
    return escape("\n".join(map(plain, cause.tail.split("\n"))))


def _written(attributes: dict[str, str | int]) -> str:
    return "".join(f' {name}="{escape(plain(str(value)))}"' for name, value in attributes.items())
