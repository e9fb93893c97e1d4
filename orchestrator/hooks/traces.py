"""A run as a trace and its targets as spans, over OpenTelemetry, once the run has ended; needs the extra `otel`.

Where it goes is said by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin); without one of them
nothing is imported. Names are those of the semantic conventions for CI/CD. Ids are made of the run's, so that a run
that several processes drove, or that is told twice, is one trace.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.core.model import Outcome
from orchestrator.report.verdict import verdict
from orchestrator.report.words import epoch, link, plain

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from orchestrator.report.view import Report, Row

SOURCE = "orchestrator"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PATIENCE = 10  # seconds for sending it all
NANO = 1_000_000_000
_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
# cicd.pipeline.task.run.result; what has no word there has ours
_RESULTS = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failure",
    Outcome.ERRORED: "error",
    Outcome.TIMED_OUT: "timeout",
    Outcome.CANCELED: "cancellation",
    Outcome.SUPERSEDED: "cancellation",
    Outcome.SKIPPED: "skip",
    Outcome.REJECTED: "error",
}


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names where traces go, and does not switch them off."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_off and any(environ.get(name) for name in ENDPOINTS)


def export(report: Report, environ: Mapping[str, str], exporter: SpanExporter | None = None) -> int:
    """Sends a run as one trace; blocks for `PATIENCE` seconds at most. Returns how many spans were taken.

    Args:
        environ: `TRACEPARENT` makes the run part of a trace that goes on around it (a CI job's).
        exporter: where the spans go; None: by OTLP over HTTP, as the environment says.

    Raises:
        ImportError: the libraries are not installed.
        OSError: it was not taken.
    """
    from opentelemetry.sdk.trace.export import SpanExportResult

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(timeout=PATIENCE)
    made = _spans(report, environ)
    try:
        if exporter.export(made) is not SpanExportResult.SUCCESS:
            raise OSError("the collector did not take the trace")
    finally:
        exporter.shutdown()
    return len(made)


def export_metrics(
    report: Report,
    calls: Mapping[tuple[str, str, str], int],
    environ: Mapping[str, str],
    exporter: MetricExporter | None = None,
) -> None:
    """Sends what a run came to as metrics: its length, its targets by outcome, the calls of this process.

    Args:
        calls: by account, purpose and answer.
        exporter: as of `export`.

    Raises:
        ImportError: the libraries are not installed.
    """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(timeout=PATIENCE)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    provider = MeterProvider([reader], _resource(environ))
    try:
        meter, run = provider.get_meter(SOURCE), report.run
        seconds = (epoch(run.finished_at) or report.as_of) - (epoch(run.started_at) or report.as_of)
        result = "success" if run.exit_code == 0 else "failure"
        about = {"cicd.pipeline.name": plain(run.name), "cicd.pipeline.result": result}
        meter.create_histogram("cicd.pipeline.run.duration", "s").record(seconds, about)
        targets = meter.create_gauge("orchestrator.targets", "{target}")
        for outcome in Outcome:
            targets.set(report.totals[outcome.value], {"cicd.pipeline.name": plain(run.name), "outcome": outcome.value})
        counter = meter.create_counter("orchestrator.calls", "{call}")
        for (account, kind, answer), number in calls.items():
            counter.add(number, {"account": account, "kind": kind, "outcome": answer})
        provider.force_flush(PATIENCE * 1000)
    finally:
        provider.shutdown(PATIENCE * 1000)


def _resource(environ: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import Resource

    from orchestrator import __version__

    named = environ.get("OTEL_SERVICE_NAME", SOURCE)
    return Resource.create({"service.name": named, "service.version": __version__})


def _spans(report: Report, environ: Mapping[str, str]) -> list[Any]:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    parent = _PARENT.fullmatch(environ.get("TRACEPARENT", ""))
    trace = int(parent[1], 16) if parent else _number(16, report.run.id)
    resource = _resource(environ)

    def context(*parts: str) -> SpanContext:
        return SpanContext(trace, _number(8, report.run.id, *parts), False, TraceFlags(TraceFlags.SAMPLED))

    def span(name: str, own: SpanContext, above: SpanContext | None, at: tuple[int, int], **more: Any) -> ReadableSpan:
        start, end = at
        more["status"] = Status(StatusCode.ERROR, more["status"]) if more["status"] else Status(StatusCode.OK)
        return ReadableSpan(
            name, own, above, resource, start_time=start * NANO, end_time=end * NANO, kind=SpanKind.INTERNAL, **more
        )

    run, now = report.run, int(report.as_of)
    begin, end = epoch(run.started_at) or now, epoch(run.finished_at) or now
    whole, told = context(), verdict(report)
    outside = None if parent is None else SpanContext(trace, int(parent[2], 16), True, TraceFlags(TraceFlags.SAMPLED))
    is_well = run.exit_code == 0
    about = {
        "cicd.pipeline.name": plain(run.name),
        "cicd.pipeline.run.id": run.id,
        "cicd.pipeline.result": "success" if is_well else "failure",
        "orchestrator.exit_code": run.exit_code,
        "orchestrator.targets": report.totals["targets"],
    }
    attributes = {key: value for key, value in about.items() if value is not None}
    status = "" if is_well else told.sentence
    found = [span(plain(run.name) or SOURCE, whole, outside, (begin, end), attributes=attributes, status=status)]
    for row in report.targets:
        at = epoch(row.triggered_at), epoch(row.finished_at)
        if at[0] is None or at[1] is None:
            continue  # nothing was asked for, or it is open: there is no time that it took
        failure = plain(row.reason or "") if row.outcome in report.fail_on else ""
        times = at[0], max(at[0], at[1])
        found.append(span(plain(row.id), context(row.id), whole, times, attributes=_of_target(row), status=failure))
    return found


def _of_target(row: Row) -> dict[str, Any]:
    known = {
        "cicd.pipeline.task.name": plain(row.id),
        "cicd.pipeline.task.run.id": row.build_id or row.request_id,
        "cicd.pipeline.task.run.url.full": link(row.url),
        "cicd.pipeline.task.run.result": _RESULTS.get(Outcome(row.outcome), row.outcome) if row.outcome else None,
        "cicd.pipeline.task.type": "build",
        "vcs.repository.name": plain(row.repo),
        "vcs.ref.head.name": plain(row.branch) if row.branch else None,
        "vcs.ref.head.revision": row.sha,
        "orchestrator.account": row.account,
        "orchestrator.provider": row.provider,
        "orchestrator.outcome": row.outcome,
        "orchestrator.code": row.code,
        "orchestrator.wave": row.wave,
        "orchestrator.reruns": row.reruns,
        "orchestrator.queued_seconds": row.queued_seconds,
        "orchestrator.run_seconds": row.run_seconds,
    }
    return {key: value for key, value in known.items() if value is not None}


def _number(size: int, *parts: str) -> int:
    """A number of so many bytes, never 0, made of texts."""
    digest = hashlib.sha256("\n".join((SOURCE, *parts)).encode()).digest()
    return int.from_bytes(digest[:size], "big") or 1
