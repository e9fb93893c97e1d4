"""A real Buildbot in an environment of its own, and nginx before it, for the tests that need them; all on loopback."""

import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import venv
from contextlib import closing
from pathlib import Path

VERSION = "4.3.0"
PACKAGES = [f"{name}=={VERSION}" for name in ("buildbot", "buildbot-www", "buildbot-worker")]
PATIENCE = 60.0

TAC = """\
import os
from twisted.application import service
from buildbot.master import BuildMaster

application = service.Application("buildmaster")
BuildMaster(os.path.dirname(os.path.abspath(__file__)), "master.cfg").setServiceParent(application)
"""

# The properties of a target decide how long its build takes and how it ends.
CONFIG = """\
import json, os
from buildbot.plugins import schedulers, steps, util, worker

told = json.loads(os.environ["TOLD"])
says = "echo 'make: *** [test] Error %(prop:outcome)s'"
script = util.Interpolate("sleep %(prop:seconds)s; " + says + "; exit %(prop:outcome)s")
step = steps.ShellCommand(name="work", command=["/bin/sh", "-c", script], logEnviron=False,
                          decodeRC={code: code for code in range(7)})
slots = [worker.LocalWorker("slot%d" % number, max_builds=1) for number in range(told["slots"])]
everyone = [slot.workername for slot in slots]


def builder(name):
    workers = {"stuck": ["ghost"], "merge": ["apart"]}.get(name, everyone)
    return util.BuilderConfig(name=name, workernames=workers, factory=util.BuildFactory([step]),
                              collapseRequests=name == "merge")


text = util.StringParameter
c = BuildmasterConfig = {
    "title": "real", "titleURL": told["url"], "buildbotURL": told["url"], "buildbotNetUsageData": None,
    "db": {"db_url": "sqlite:///state.sqlite"}, "protocols": {"null": {}},
    "workers": [*slots, worker.LocalWorker("apart", max_builds=1), worker.Worker("ghost", "never-connects")],
    "builders": [builder(name) for name in told["builders"]],
    "schedulers": [schedulers.ForceScheduler(
        name="force", builderNames=told["builders"],
        codebases=[util.CodebaseParameter("", branch=text(name="branch", default=""),
                                          revision=util.FixedParameter(name="revision", default=""),
                                          repository=util.FixedParameter(name="repository", default=""),
                                          project=util.FixedParameter(name="project", default=""))],
        reason=text(name="reason", default=""),
        properties=[text(name="orchestrator_marker", default=""), util.IntParameter(name="outcome", default=0),
                    util.IntParameter(name="seconds", default=0), util.AnyPropertyParameter(name="more")])],
    "www": {"port": "tcp:%d:interface=127.0.0.1" % told["port"], "plugins": {}},
}
if told["password"]:
    c["www"]["auth"] = util.UserPasswordAuth({"robot": told["password"]})
    c["www"]["authz"] = util.Authz(
        allowRules=[util.AnyControlEndpointMatcher(role="robots")],
        roleMatchers=[util.RolesFromUsername(roles=["robots"], usernames=["robot"])])
"""

LIMITER = """\
daemon off; pid nginx.pid; worker_processes 1; error_log error.log warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log access.log;
  client_body_temp_path tmp-b; proxy_temp_path tmp-p; fastcgi_temp_path tmp-f;
  uwsgi_temp_path tmp-u; scgi_temp_path tmp-s;
  map $request_method $key {{ POST $binary_remote_addr; default ""; }}
  limit_req_zone $key zone=posts:1m rate={rate}r/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      limit_req zone=posts burst=3 nodelay; limit_req_status 429;
      proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
    error_page 429 @busy;
    location @busy {{ internal; default_type application/json;
      add_header Retry-After 1 always; return 429 '{{"error":"slow down"}}'; }}
  }}
}}
"""


def installed():
    """Where Buildbot is installed; made once for all runs of this user."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator-tests"
    place = base / f"buildbot-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place, with_pip=True)
            subprocess.run(
                [place / "bin" / "pip", "install", "-q", *PACKAGES], check=True, capture_output=True, timeout=180
            )
            (place / "whole").touch()
    return place


def free_port():
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(fact, what, patience=PATIENCE):
    """Waits until the fact is there, and returns it."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if found := fact():
            return found
        time.sleep(0.05)
    raise AssertionError(f"after {patience:g} s: {what}")


class Master:
    """A Buildbot with a database in a file, which outlives it.

    Args:
        password: of the user `robot`, without whom nothing can be forced; empty: everybody may.
    """

    def __init__(self, place, home, builders, slots=4, password=""):
        self.place, self.home, self.port = place, home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        told = {"builders": builders, "slots": slots, "port": self.port, "url": f"{self.url}/", "password": password}
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TOLD": json.dumps(told)}
        home.mkdir()
        subprocess.run([place / "bin" / "buildbot", "create-master", "-q", home], check=True, env=self.environ)
        (home / "buildbot.tac").write_text(TAC)
        (home / "master.cfg").write_text(CONFIG)
        self.process = None

    def start(self):
        log = self.home / "peer.log"
        log.write_text("")
        words = [self.place / "bin" / "twistd", "--nodaemon", "--no_save", "--pidfile=", "--logfile=peer.log"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(
            [*words, "-y", "buildbot.tac"], cwd=self.home, env=self.environ, start_new_session=True, **quiet
        )
        wait_for(lambda: "BuildMaster is running" in log.read_text(), f"no Buildbot: {log.read_text()[-2000:]}")

    def kill(self):
        """Without a word to anybody."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def ask(self, path):
        with urllib.request.urlopen(f"{self.url}/api/v2/{path}", timeout=10) as answer:
            return json.load(answer)

    def table(self, sql):
        """Rows of the database itself."""
        with closing(sqlite3.connect(f"file:{self.home}/state.sqlite?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql).fetchall()


class Limiter:
    """nginx before a server: so many POSTs a second, then 429."""

    def __init__(self, home, behind, rate):
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program, "nginx is not installed; .ci/packages names what the tests need"
        home.mkdir()
        self.log, self.port = home / "access.log", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        user = "user root;" if os.geteuid() == 0 else ""
        written = LIMITER.format(user=user, rate=rate, port=self.port, behind=behind)
        (home / "nginx.conf").write_text(written)
        self.process = subprocess.Popen(
            [program, "-p", str(home), "-c", str(home / "nginx.conf")], stderr=subprocess.DEVNULL
        )
        wait_for(self._is_there, "no nginx")

    def _is_there(self):
        with closing(socket.socket()) as line:
            return line.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def answered(self, status):
        """How many calls it answered so."""
        return sum(f'" {status} ' in line for line in self.log.read_text().splitlines())
