"""nginx' `limit_req` in front of a server that takes its time: the same rate as a leaky bucket, by the millisecond.

A client that keeps `calls` in each sliding period is never refused by it: no window of any length holds more calls than
drain in it, plus a bucket. The access log tells when each call came and what it was answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import window
from benchmarks.nginx import running
from orchestrator.lookalike.kit.counters import worst_window

UNLIMITED = 10**6  # calls a second

CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
  log_format calls '$msec $request_time $status';
  access_log {folder}/calls.log calls;
  limit_req_zone $server_port zone=all:1m rate={rate}r/s;
  limit_req_status 429;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream slow {{ server 127.0.0.1:{behind}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    limit_req zone=all burst={burst} nodelay;
    location / {{ proxy_pass http://slow; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@contextmanager
def served(calls: int, period: float, latency: float) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """As `window.served`: the port, and a function that tells what was counted."""
    with window.served(UNLIMITED, 1.0, latency) as (behind, _):
        fields = {"rate": round(calls / period), "burst": calls - 1, "behind": behind}
        with running(CONFIG, **fields) as (port, folder):
            yield port, lambda: stats_of(folder / "calls.log", period)


def stats_of(log: Path, period: float) -> dict[str, Any]:
    """What an access log counts: lines of the instant of the answer, the seconds until then, the status."""
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    came = sorted((float(ended) - float(took), status) for ended, took, status in lines)
    return {
        "accepted": sum(status == "202" for _, status in came),
        "refused": sum(status == "429" for _, status in came),
        "worst": worst_window([at for at, _ in came], period),
        "stamps": [at for at, status in came if status == "202"],
    }
