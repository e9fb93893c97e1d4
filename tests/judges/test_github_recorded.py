"""Our reader of GitHub's runs and jobs against bodies recorded from GitHub (npm's @octokit/webhooks-examples)."""

import json
import shutil
import subprocess
import tarfile

import pytest

from orchestrator.core.model import BuildState, Target
from orchestrator.providers.github.observe import build_of, may_be
from orchestrator.providers.github.provider import BLAMED
from orchestrator.providers.kit.answers import instant

pytestmark = pytest.mark.slow
EXAMPLES = "@octokit/webhooks-examples@7.6.1"
ENDS = {"success": BuildState.PASSED, "action_required": BuildState.ERRORED}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The objects of an event, by the event's name."""
    folder = tmp_path_factory.mktemp("examples")
    npm = shutil.which("npm")
    assert npm, "npm brings the recorded bodies: install it (Debian's package npm)"
    subprocess.run([npm, "pack", EXAMPLES], cwd=folder, capture_output=True, check=True)
    [packed] = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        events = json.load(archive.extractfile("package/api.github.com/index.json"))
    named = {event["name"]: event["examples"] for event in events}
    return {name: [one[name] for one in named[name]] for name in ("workflow_run", "workflow_job")}


def test_every_recorded_run_is_read_whole_and_without_a_warning(recorded):
    assert {run["status"] for run in recorded["workflow_run"]} == {"queued", "completed"}
    for run in recorded["workflow_run"]:
        build, warning = build_of(run, None)
        assert warning is None
        assert build.state is (ENDS[run["conclusion"]] if run["status"] == "completed" else BuildState.QUEUED)
        assert (build.id, build.number) == (str(run["id"]), str(run["run_number"]))
        assert (build.url, build.sha, build.branch) == (run["html_url"], run["head_sha"], run["head_branch"])
        assert build.created_at == instant(run["created_at"]) is not None
        assert build.finished_at == (instant(run["updated_at"]) if run["status"] == "completed" else None)
        assert (build.started_at is not None) is build.state.is_final


def test_a_recorded_run_may_be_that_of_a_target_with_its_workflow_event_and_branch_only(recorded):
    for run in recorded["workflow_run"]:
        said = {"workflow": str(run["workflow_id"])}
        ours = Target("t", "github", run["repository"]["full_name"], run["head_branch"], request=said)
        dispatched = {**run, "event": "workflow_dispatch"}
        assert may_be(ours, "[nightly.abcdefgh]", dispatched)
        assert may_be(ours, "[nightly.abcdefgh]", run) is (run["event"] == "workflow_dispatch")
        elsewhere = Target("t", "github", ours.repo, "another", request=said)
        assert not may_be(elsewhere, "[nightly.abcdefgh]", dispatched)


def test_of_the_recorded_jobs_the_one_that_failed_is_blamed(recorded):
    jobs = recorded["workflow_job"]
    assert {job["conclusion"] for job in jobs if job["conclusion"] in BLAMED} == {"failure"}
    assert all(isinstance(job["id"], int) and job["html_url"].startswith("https://") for job in jobs)
