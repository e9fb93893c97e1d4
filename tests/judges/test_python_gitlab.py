"""python-gitlab, a client that other people wrote, on our look-alike.

Does it see what our run started, with the same ends, and can it do by itself what we do?
"""

import json
import warnings

import pytest
from judged import reported, served, until

pytestmark = pytest.mark.slow
SETTINGS = ("build=[1s, 2s]", "shares={failed: 40%, skipped: 10%}", "seed=5", "projects=0", "creates=3")
REPOS = [{"slug": f"acme/deep/svc-{n}", "inputs": ["level"]} for n in range(1, 61)]
MORE = [
    {"slug": "acme/parent", "starts": ["acme/deep/svc-60"]},
    {"slug": "acme/young", "variables": False, "inputs": ["marker"], "names": True},
    {"slug": "acme/slow", "rests": "manual"},
]
MANIFEST = """\
version: 1
name: judged
providers: {{gitlab: {{url: "{url}", token: env:TOKEN, limits: {{triggers: 100/1s}}}}}}
defaults: {{branches: [main], env: {{LEVEL: "3"}}}}
targets:
  - repos: [acme/deep/svc-1, acme/deep/svc-2, acme/deep/svc-3, acme/deep/svc-4, acme/deep/svc-5, acme/deep/svc-6]
    inputs: {{level: 3}}
  - acme/parent
"""
MEANS = {"success": "passed", "failed": "failed", "skipped": "skipped"}


@pytest.fixture
def there(tmp_path):
    (tmp_path / "repos.yaml").write_text(json.dumps({"repos": [*REPOS, *MORE]}))
    with warnings.catch_warnings(), served("gitlab", str(tmp_path / "repos.yaml"), *SETTINGS) as (url, token):
        import gitlab  # which sets filters of its own

        yield gitlab.Gitlab(url, private_token=token), url, token


def until_is(pipeline, *words):
    """Reads the pipeline until its status is one of these."""
    return until(lambda: (pipeline.refresh(), pipeline.status)[1], lambda status: status in words)


def test_python_gitlab_sees_what_we_started(there, tmp_path):
    client, url, token = there
    targets = reported(tmp_path, MANIFEST.format(url=url), token)
    for target in targets[:-1]:
        project = client.projects.get(target["repo"])
        [pipeline] = project.pipelines.list(get_all=True)
        assert str(pipeline.id) == target["request_id"]
        assert MEANS[pipeline.status] == target["outcome"]
        assert (pipeline.web_url, pipeline.sha, pipeline.ref) == (target["url"], target["sha"], target["branch"])
        sent = {one.key: one.value for one in pipeline.variables.list(get_all=True)}
        assert sent == {"LEVEL": "3", "ORCHESTRATOR_MARKER": target["marker"]}
    parent = client.projects.get("acme/parent").pipelines.get(targets[-1]["request_id"])
    [bridge] = parent.bridges.list(get_all=True)
    below = str(bridge.downstream_pipeline["id"])
    assert {build["id"] for build in targets[-1]["builds"]} == {str(parent.id), below}


def test_python_gitlab_does_what_we_do(there):
    import gitlab

    client, _, _ = there
    client.auth()
    assert client.user.username == "sandbox"
    group = client.groups.get("acme")
    found = group.projects.list(include_subgroups=True, get_all=True, pagination="keyset", order_by="id", per_page=20)
    assert len(found) == len(REPOS) + len(MORE)
    project = client.projects.get("acme/deep/svc-7")
    assert [branch.name for branch in project.branches.list(get_all=True)] == ["main"]
    made = project.pipelines.create({"ref": "main", "variables": [{"key": "A", "value": "1"}], "inputs": {"level": 1}})
    made.cancel()
    assert until_is(made, "canceled") == "canceled"
    made.retry()
    assert until_is(made, "success", "failed", "skipped")
    slow = client.projects.get("acme/slow").pipelines.create({"ref": "main"})
    assert until_is(slow, "manual") == "manual"
    by_token = project.trigger_pipeline("main", "sandbox-trigger-token", variables={"A": "1"})
    until_is(by_token, "success", "failed", "skipped")
    assert [job.name for job in by_token.jobs.list(get_all=True)] == ["test"] * (by_token.status != "skipped")
    for job in by_token.jobs.list(get_all=True):
        assert b"svc-7" in project.jobs.get(job.id, lazy=True).trace()
    for wrong, words in (
        (lambda: client.projects.get("acme/gone"), "404 Project Not Found"),
        (lambda: project.pipelines.create({"ref": "gone"}), "Reference not found"),
        (lambda: project.trigger_pipeline("main", "wrong"), "404 Not Found"),
        (lambda: client.projects.get("acme/young").pipelines.create({"ref": "main", "variables": [
            {"key": "A", "value": "1"}]}), "set pipeline variables"),
        (lambda: [project.pipelines.create({"ref": "main"}) for _ in range(4)], "Too many pipelines"),
    ):  # fmt: skip
        with pytest.raises(gitlab.GitlabError, match=words):
            wrong()
