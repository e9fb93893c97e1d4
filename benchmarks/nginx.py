"""The fixed server that all clients are measured against: nginx on a free loopback port, from a temporary folder.

Every POST gets Travis' 202; only the slug and the number of the request change. GETs get a 404, as `/user` does on a
server without it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.child import Failed
from benchmarks.tools import tool

RECEIPT = """{
  "@type": "pending",
  "remaining_requests": 9,
  "repository": {
    "@type": "repository",
    "@href": "/repo/4711",
    "@representation": "minimal",
    "id": 4711,
    "name": "$name",
    "slug": "$owner/$name"
  },
  "request": {
    "repository": {
      "id": 900001,
      "vcs_type": "GithubRepository",
      "owner_name": "$owner",
      "name": "$name"
    },
    "user": {
      "id": 77
    },
    "id": $connection$connection_requests,
    "message": "nightly rebuild",
    "branch": "main",
    "configs": [
      {
        "config": "{}",
        "mode": null
      }
    ],
    "config": "{}"
  },
  "resource_type": "request"
}
"""

CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location ~ ^/repo/(?<owner>[^/]+)/(?<name>[^/]+)/requests$ {{ return 202 '{receipt}'; }}
    location = /user {{ return 200 '{{"@type": "user", "id": 77, "login": "me"}}'; }}
    location / {{ return 404 '{{"@type": "error", "error_type": "not_found", "error_message": "not found"}}'; }}
  }}
}}
"""

PATIENCE = 10.0  # seconds to come up


@contextmanager
def served() -> Iterator[int]:
    """The port, while the server runs."""
    with running(CONFIG, receipt=RECEIPT) as (port, _):
        yield port


@contextmanager
def running(config: str, **fields: object) -> Iterator[tuple[int, Path]]:
    """The port and the folder of an nginx, while it runs.

    Args:
        config: text in which `{folder}`, `{port}` and `fields` are filled in.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-nginx-") as name:
        folder, port = Path(name), free_port()
        file = folder / "nginx.conf"
        file.write_text(config.format(folder=folder, port=port, **fields), encoding="utf-8")
        argv = [tool("nginx"), "-p", name, "-c", str(file), "-e", "stderr"]
        if os.geteuid() == 0:
            argv += ["-g", "user root;"]  # a worker of another user could not use the folder
        process = subprocess.Popen(argv)
        try:
            wait_for(port, process)
            yield port, folder
        finally:
            process.terminate()
            process.wait(PATIENCE)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when somebody answers at the port.

    Raises:
        Failed: the process ended, or its time is over.
    """
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # there is nothing to be told by: a server says nothing when it is up
    raise Failed(f"the server on port {port} did not come up")
