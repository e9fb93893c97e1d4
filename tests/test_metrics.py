"""Metrics and traces of a run, as a monitoring system reads them."""

import gzip
import re
from collections import Counter
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests  # noqa: F401  # the exporter does it with its first trace, and it sets a filter of warnings
from cli_machine import context_of
from fake_service import Script
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from web import Page, Server

from orchestrator.app.plan import Choices
from orchestrator.core.calls import Answer, Call
from orchestrator.core.errors import Exit, InDoubt, Unreachable
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account, BuildState
from orchestrator.hooks import metrics, traces
from orchestrator.providers import registry

pytestmark = pytest.mark.anyio
RESULT = "cicd.pipeline.task.run.result"


def samples(text):
    families = list(text_string_to_metric_families(text))
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


@pytest.fixture
def server(tmp_path, monkeypatch):
    return Server(tmp_path, monkeypatch, bad=Script(BuildState.FAILED))


async def test_the_file_of_a_run_is_what_prometheus_reads_and_holds_its_outcomes(server):
    file = server.folder / "out" / "run.prom"
    started = await server.started("one", Page(), "a", "b", "bad", choices=Choices(metrics_file=str(file)))
    assert (await started.drive.run()).code is Exit.FAILED
    found = samples(file.read_text(encoding="utf-8"))
    assert found["orchestrator_targets", "passed"] == 2
    assert found["orchestrator_targets", "failed"] == 1
    assert found["orchestrator_targets", "open"] == 0
    assert found["orchestrator_run_exit_code",] == 1
    assert found["orchestrator_run_seconds",] > 0


async def test_a_file_that_cannot_be_written_is_told_and_the_run_goes_on(server):
    (server.folder / "file").write_text("")
    page = Page()
    choices = Choices(metrics_file=str(server.folder / "file" / "x.prom"))
    started = await server.started("one", page, "a", choices=choices)
    assert (await started.drive.run()).code is Exit.OK
    assert "metrics.unwritten" in page.notices


async def test_calls_are_counted_by_account_purpose_and_answer():
    answers = iter([Answer(200), Answer(429), InDoubt("lost"), Unreachable("no")])

    async def send(call):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    account = Account('we"ird\\', "travis", "https://ci.invalid", None)

    @asynccontextmanager
    async def connect(_):
        yield metrics.Line(account, registry.declaration("travis"), send, lambda _: None, "")

    calls = metrics.Calls()
    async with calls.over(connect)(account) as line:
        for purpose in ("trigger", "poll"):
            await line.send(Call("POST", "/x", purpose=purpose))
        for error in (InDoubt, Unreachable):
            with pytest.raises(error):
                await line.send(Call("POST", "/x", purpose="trigger"))
    found = samples(metrics.text({}, calls.counts, 1.0, None))
    name = "orchestrator_calls_total"
    kinds = {key[1:]: value for key, value in found.items() if key[0] == name}
    assert Counter(kinds.values()) == {1: 4}
    assert {tuple(sorted(set(key) - {account.name})) for key in kinds} == {
        ("2xx", "trigger"),
        ("4xx", "poll"),
        ("lost", "trigger"),
        ("trigger", "unreachable"),
    }
    assert all(account.name in key for key in kinds)


def exported(found, environ=None):
    exporter = InMemorySpanExporter()
    number = traces.export(found, environ or {}, exporter)
    spans = exporter.get_finished_spans()
    assert number == len(spans)
    return spans


async def a_report(server, *names):
    started = await server.started("one", Page(), *names)
    return (await started.drive.run()).report


async def test_a_run_is_a_trace_and_each_target_a_span_of_it(server):
    found = await a_report(server, "a", "bad")
    whole, *targets = exported(found)
    assert (whole.attributes["cicd.pipeline.run.id"], whole.attributes["cicd.pipeline.result"]) == ("one", "failure")
    results = {
        one.attributes["vcs.repository.name"]: one.attributes["cicd.pipeline.task.run.result"] for one in targets
    }
    assert results == {"acme/a": "success", "acme/bad": "failure"}
    for one in targets:
        assert one.context.trace_id == whole.context.trace_id
        assert one.parent.span_id == whole.context.span_id
        assert whole.start_time <= one.start_time <= one.end_time <= whole.end_time
        assert one.status.is_ok == (one.attributes[RESULT] == "success")


async def test_a_run_that_is_told_twice_is_the_same_trace(server):
    found = await a_report(server, "a", "bad")
    assert [one.context for one in exported(found)] == [one.context for one in exported(found)]


async def test_a_run_in_a_job_that_is_traced_is_part_of_that_trace(server):
    found = await a_report(server, "a")
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    whole, _ = exported(found, {"TRACEPARENT": parent})
    assert f"{whole.context.trace_id:032x}" == parent.split("-")[1]
    assert f"{whole.parent.span_id:016x}" == parent.split("-")[2]


async def test_a_target_that_was_never_asked_for_has_no_span(server):
    found = await a_report(server, "a")
    (row,) = found.targets
    never = replace(row, id="fake:acme/z", triggered_at=None, outcome="skipped")
    assert len(exported(replace(found, targets=(row, never)))) == 2


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_trace_is_made_only_where_the_environment_says_where_it_goes(environ, wanted):
    assert traces.is_wanted(environ) is wanted


async def test_metrics_hold_length_outcomes_and_calls(server):

    got = []

    class Kept(MetricExporter):
        def export(self, metrics_data, timeout_millis=10_000, **_):
            got.append(metrics_data)
            return MetricExportResult.SUCCESS

        def shutdown(self, *_, **__):
            pass

        def force_flush(self, *_, **__):
            return True

    found = await a_report(server, "a", "bad")
    traces.export_metrics(found, {("fake", "trigger", "2xx"): 2}, {}, Kept())
    named = {
        metric.name: list(metric.data.data_points)
        for data in got
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert set(named) == {"cicd.pipeline.run.duration", "orchestrator.targets", "orchestrator.calls"}
    assert {point.attributes["outcome"]: point.value for point in named["orchestrator.targets"]}["failed"] == 1
    assert named["orchestrator.calls"][0].value == 2


def test_nothing_of_the_libraries_is_imported_where_nothing_is_to_be_traced():
    assert not traces.is_wanted(context_of().environ)
    source = re.sub(r"(?s)if TYPE_CHECKING:.*?\n\n", "", Path(traces.__file__).read_text(encoding="utf-8"))
    assert not re.search(r"^(import|from) opentelemetry", source, re.MULTILINE)


async def test_the_trace_arrives_at_a_collector_that_speaks_otlp(server):
    found, got = await a_report(server, "a", "bad"), []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        traces.export(found, {}, OTLPSpanExporter(f"http://127.0.0.1:{served.server_port}/v1/traces"))
        served.shutdown()
    ((path, body),) = got
    told = ExportTraceServiceRequest.FromString(body)
    names = [span.name for one in told.resource_spans for scope in one.scope_spans for span in scope.spans]
    assert path == "/v1/traces"
    assert sorted(names) == ["fake:acme/a", "fake:acme/bad", "one"]
