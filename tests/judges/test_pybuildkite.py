"""pybuildkite on our look-alike: does it see what our run started, with the same ends, and can it do the same?"""

import pytest
from judged import reported, served, until
from pybuildkite.buildkite import Buildkite
from pybuildkite.jobs import LogFormat

pytestmark = pytest.mark.slow
QUICK = ("build=[1s, 2s]", "shares={failed: 30%, not_run: 20%}", "seed=5")
SETTINGS = ("--repos", "150", *QUICK, "user_calls=1000", "calls=1000")
LIMITS = "{calls: 900/1m, calls_per_organization: 900/1m}"
MANIFEST = """\
version: 1
name: judged
providers: {{buildkite: {{url: "{url}", token: env:TOKEN, limits: {limits}}}}}
defaults: {{branches: [main], meta_data: {{level: 3}}}}
targets: [acme/svc-001, acme/svc-002, acme/svc-003, acme/svc-004, acme/svc-005, acme/svc-006]
"""


def test_pybuildkite_sees_what_our_run_started_and_does_the_same(tmp_path):
    with served("buildkite", *SETTINGS) as (url, token):
        targets = reported(tmp_path, MANIFEST.format(url=url, limits=LIMITS), token)
        client = Buildkite()
        client.set_access_token(token)
        client.base_url = f"{url}/v2/"
        ours = client.builds().list_all_for_org("acme", meta_data={"level": "3"})
        assert {build["id"] for build in ours} == {target["build_id"] for target in targets}
        for target in targets:
            name = target["repo"].partition("/")[2]
            build = client.builds().get_build_by_number("acme", name, int(target["build_number"]))
            assert {"not_run": "skipped"}.get(build["state"], build["state"]) == target["outcome"]
            assert (build["id"], build["web_url"]) == (target["build_id"], target["url"])
            assert build["meta_data"]["orchestrator_marker"] == target["marker"]
            [job] = build["jobs"]
            log = client.jobs().get_job_log("acme", name, build["number"], job["id"], LogFormat.TEXT)
            assert b"make test" in log
        page = client.pipelines().list_pipelines("acme", with_pagination=True)
        assert (len(page.body), page.next_page) == (100, 2)

        [name, number] = next(
            (target["repo"].partition("/")[2], int(target["build_number"]))
            for target in targets
            if target["outcome"] == "failed"
        )
        again = client.builds().rebuild_build("acme", name, number)
        assert again["number"] == number + 1
        assert again["rebuilt_from"]["number"] == number
        [job] = client.builds().get_build_by_number("acme", name, number)["jobs"]
        assert client.jobs().retry_job("acme", name, number, job["id"])["id"] != job["id"]
        until(
            lambda: client.builds().get_build_by_number("acme", name, number)["state"],
            lambda state: state in ("passed", "failed", "not_run"),
        )
        made = client.builds().create_build("acme", "svc-100", "HEAD", "main", meta_data={"by": "hand"})
        assert made["state"] == "scheduled"
        client.builds().cancel_build("acme", "svc-100", made["number"])
        ended = until(
            lambda: client.builds().get_build_by_number("acme", "svc-100", made["number"]),
            lambda build: build["finished_at"] is not None,
        )
        assert ended["state"] == "canceled"
