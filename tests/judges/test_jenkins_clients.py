"""python-jenkins and api4jenkins on our look-alike: do they see what our run started, with the same ends?"""

from contextlib import ExitStack

import api4jenkins
import jenkins
import pytest
from judged import reported, served, until

pytestmark = pytest.mark.slow
SETTINGS = ("--repos", "60", "build=[1s, 2s]", "shares={failed: 30%, not_built: 20%}", "seed=5")
MANIFEST = """\
version: 1
name: judged
providers: {{jenkins: {{url: "{url}", token: env:TOKEN, user: sandbox}}}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003, acme/svc-004, acme/svc-005, acme/svc-006@main]
"""
MEANS = {"SUCCESS": "passed", "FAILURE": "failed", "UNSTABLE": "failed", "ABORTED": "canceled", "NOT_BUILT": "skipped"}


@pytest.mark.parametrize("crumbs", ["false", "true"])
def test_python_jenkins_sees_what_our_run_started_and_starts_and_cancels_by_itself(tmp_path, crumbs):
    with served("jenkins", *SETTINGS, f"crumbs={crumbs}") as (url, token), ExitStack() as stack:
        targets = reported(tmp_path, MANIFEST.format(url=url), token)
        client = jenkins.Jenkins(url, username="sandbox", password=token)
        stack.callback(client._session.close)
        assert client.get_whoami()["id"] == "sandbox"
        for target in targets:
            shown = client.get_build_info(target["repo"], int(target["build_number"]))
            assert MEANS[shown["result"]] == target["outcome"], (shown, target)
            assert shown["url"] == target["url"]
            assert str(shown["queueId"]) == target["request_id"]
            given = [one for action in shown["actions"] for one in action.get("parameters", ())]
            assert {one["name"]: one["value"] for one in given}["ORCHESTRATOR_MARKER"] == target["marker"]
            assert [one["number"] for one in client.get_job_info(target["repo"])["builds"]] == [shown["number"]]
        assert "make test" in client.get_build_console_output(targets[0]["repo"], 1)
        item = client.build_job("acme/svc-010", {"BRANCH": "dev"})
        assert [one["id"] for one in client.get_queue_info()] == [item]
        number = until(lambda: client.get_queue_item(item), lambda shown: "executable" in shown)["executable"]["number"]
        client.stop_build("acme/svc-010", number)
        ended = until(lambda: client.get_build_info("acme/svc-010", number), lambda shown: not shown["building"])
        assert ended["result"] == "ABORTED"
        item = client.build_job("acme/svc-011", {"BRANCH": "dev"})
        client.cancel_queue(item)
        assert until(lambda: client.get_queue_item(item), lambda shown: "cancelled" in shown)["cancelled"] is True


def test_api4jenkins_sees_what_our_run_started_and_starts_and_cancels_by_itself(tmp_path):
    with served("jenkins", *SETTINGS) as (url, token), ExitStack() as stack:
        targets = reported(tmp_path, MANIFEST.format(url=url), token)
        client = api4jenkins.Jenkins(url, auth=("sandbox", token))
        stack.callback(client.http_client.close)
        for target in targets:
            build = client.get_job(target["repo"]).get(int(target["build_number"]))
            assert MEANS[build.result] == target["outcome"]
            assert str(build.queue_id) == target["request_id"]
            shown = {one.name: one.value for one in build.get_parameters()}
            assert shown["ORCHESTRATOR_MARKER"] == target["marker"]
        job = client.get_job("acme/svc-010")
        item = job.build(BRANCH="dev")
        build = until(item.get_build, lambda found: found is not None)
        build.stop()
        assert until(lambda: build.api_json(), lambda shown: not shown["building"])["result"] == "ABORTED"
        assert "make test" in "\n".join(build.console_text())
