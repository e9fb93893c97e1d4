"""For programs: `report.json`, JSON lines, rows for spreadsheets, `repo@branch` lines, and CTRF (ctrf.io).

`report.json` is the whole report, a line a target, so that it is quick to write and `grep` and `diff` can read it.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator import __version__
from orchestrator.core.frozen import asdict
from orchestrator.core.model import Outcome
from orchestrator.core.next_step import AFTER_RERUN
from orchestrator.core.times import clock
from orchestrator.providers import registry
from orchestrator.report.groups import SharedCause, causes, reason_of, to_rerun, word_of
from orchestrator.report.minutes import as_json, used
from orchestrator.report.view import SCHEMA, BuildView, ForecastView, Report, Row, RunView
from orchestrator.report.words import epoch, plain

if TYPE_CHECKING:
    from orchestrator.report.diff import Diff

_dump = json.JSONEncoder(ensure_ascii=False).encode
_ROW = tuple(name for name in Row.__struct_fields__ if name not in ("target", "run", "root"))
_BUILD = BuildView.__struct_fields__
_CAUSE = ("signature", "text", "job", "exit", "url")  # the end of the log is for people


def render(report: Report) -> Iterator[str]:
    """The document that `schema.json` describes, a target at a time."""
    yield f'{{"schema": {_dump(SCHEMA)},\n'
    yield f' "run": {_dump(plain_run(report.run))},\n'
    yield f' "totals": {_dump(dict(report.totals))},\n'
    yield f' "causes": {_dump([_cause_group(one) for one in causes(report)])},\n'
    yield ' "targets": ['
    for number, row in enumerate(report.targets):
        yield f"{',' if number else ''}\n  {_dump(plain_row(row))}"
    yield '],\n "limits": ['
    for number, limit in enumerate(report.limits):
        yield f"{',' if number else ''}\n  {_dump(asdict(limit))}"
    if report.since is not None:
        yield f'],\n "since": {_dump(_since(report.since))},\n "calls": '
    else:
        yield '],\n "calls": '
    yield f'{_dump(dict(report.calls))},\n "minutes": {_dump(as_json(used(report)))},\n'
    yield f' "forecast": {_dump(_forecast(report.forecast))}}}\n'


def _since(since: Diff) -> dict[str, Any]:
    """What changed since another run: by kind how many, and which targets."""
    totals = {kind: len(changes) for kind, changes in since.changes.items()}
    ids = {kind: [change.id for change in changes] for kind, changes in since.changes.items()}
    return {"run": since.before.id, "totals": totals, **ids}


def plain_row(row: Row) -> dict[str, Any]:
    """One target as a JSON object, in the order of the schema."""
    out: dict[str, Any] = {name: getattr(row, name) for name in _ROW}
    out["cause"] = None if row.cause is None else {name: getattr(row.cause, name) for name in _CAUSE}
    out["builds"] = [{name: getattr(build, name) for name in _BUILD} for build in row.builds]
    return {**out, "run": row.run} if row.run else out


def _cause_group(one: SharedCause) -> dict[str, Any]:
    ids = [row.id for row in one.rows]
    return {"signature": one.signature, "text": one.text, "count": len(ids), "targets": ids}


def plain_run(run: RunView) -> dict[str, Any]:
    """The run as a JSON object."""
    found = {name: value for name, value in asdict(run).items() if name != "merged" or value}
    seen = None if run.detection_seconds is None else asdict(run.detection_seconds)
    lists = {name: [asdict(one) for one in getattr(run, name)] for name in ("waves", "accounts_stopped")}
    return {**found, **lists, "detection_seconds": seen}


def _forecast(forecast: ForecastView | None) -> dict[str, Any] | None:
    return None if forecast is None else asdict(forecast)


COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in ("target", "builds", "run", "root"))


def json_lines(report: Report) -> Iterator[str]:
    """The targets of `report.json`, without the rest, for tools that stream."""
    return (f"{_dump(plain_row(row))}\n" for row in report.targets)


def csv_rows(report: Report) -> Iterator[str]:
    """A header with the names of `report.json`, then the targets; lists and matrices are joined by `;`."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for cells in chain([COLUMNS], map(_cells, report.targets)):
        writer.writerow(cells)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def _cells(row: Row) -> Iterator[str]:
    for name in COLUMNS:
        value = getattr(row, name)
        if name == "matrix":
            value = ";".join(f"{key}={text}" for key, text in row.matrix.items())
        elif name == "labels":
            value = ";".join(row.labels)
        elif name == "cause":
            value = None if row.cause is None else row.cause.text
        yield "" if value is None else _harmless(str(value))


def _harmless(text: str) -> str:
    """Spreadsheets run a cell that begins so; an apostrophe makes it text."""
    clean = plain(text)
    return f"'{clean}" if clean.startswith(("=", "+", "-", "@")) else clean


def short_forms(report: Report) -> str:
    """`repo@branch` lines of what did not pass, for `run --from` or a shell loop, without duplicates, in plan order.

    As with `retry`, what may still have a build of its own (in doubt, or being followed) is named in comments only, so
    that feeding the list to another run doubles nothing.
    """
    safe, unsafe = to_rerun(report.targets)
    comments = [f"# left out, {word_of(row)}: {short_form(row)}" for row in unsafe]
    if lost := _not_in_lines(report, safe):
        how = f"`orchestrator run --like {report.run.id} --from FILE` keeps them"
        comments.insert(0, f"# these lines do not say {', '.join(lost)}; {how}")
    return "".join(f"{line}\n" for line in dict.fromkeys([*map(short_form, safe), *comments]))


def _not_in_lines(report: Report, rows: Iterable[Row]) -> list[str]:
    """What the targets ask for and a `repo@branch` line cannot say, by the manifest's keys."""
    found: dict[str, None] = {}
    declared = registry.known()
    for row in rows:
        account = report.accounts.get(row.account)
        usual = None if account is None else declared.get(account.type)
        if account is not None and (account.name != account.type or usual is None or account.url != usual.url):
            found[f"account {plain(row.account)} ({plain(account.url)})"] = None
        keys = dict.fromkeys(key for key in row.target.request if key not in ("branch", "repo"))
        keys |= {key: None for key in ("matrix", "name", "labels") if getattr(row, key)}
        found |= keys
    return list(found)


def short_form(row: Row) -> str:
    """`owner/name@branch` as manifests take it: the id without account, matrix and name."""
    rest = row.id.removeprefix(f"{row.account}:")
    return plain(rest.partition("[")[0].partition("#")[0])


SPEC = "1.0.0"
STATUSES = ("passed", "failed", "skipped", "pending", "other")

_STATUS = {
    Outcome.PASSED: "passed",
    Outcome.SKIPPED: "skipped",
    Outcome.SUPERSEDED: "skipped",
    Outcome.IN_DOUBT: "other",
}


def ctrf(report: Report) -> str:
    """The CTRF document; times are milliseconds."""
    tests = [_test(row) for row in report.targets]
    document = {
        "reportFormat": "CTRF",
        "specVersion": SPEC,
        "reportId": _uuid(f"run:{report.run.id}"),
        "runId": report.run.id,
        "timestamp": clock(report.as_of) or "1970-01-01T00:00:00Z",
        "generatedBy": f"orchestrator {__version__}",
        "results": {
            "tool": {"name": "orchestrator", "version": __version__},
            "summary": _summary(report, tests),
            "tests": tests,
            "environment": {"reportName": report.run.name, "extra": {"run": report.run.id}},
        },
    }
    return _dump(document) + "\n"


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
        "flaky": row.code == AFTER_RERUN,
        "extra": {"url": row.url, "code": row.code, "branch": row.branch, "sha": row.sha, "build": row.build_number},
    }
    if row.reason is not None and row.outcome != Outcome.PASSED:
        test["message"] = reason_of(row)
    for name, at in (("start", row.started_at), ("stop", row.finished_at)):
        if at is not None:
            test[name] = (epoch(at) or 0) * 1000
    return test


def _uuid(name: str) -> str:
    """Stable, so that dashboards recognise a target from run to run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
