"""GitHub's look-alike by itself: what it refuses, and in which words."""

import json

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.lookalike.github import GitHubLookAlike
from orchestrator.lookalike.github.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.http import Incoming
from orchestrator.lookalike.kit.settings import with_repos

HEADERS = {"authorization": "Bearer sandbox-token", "user-agent": "test", "host": "gh.test"}
DISPATCH = "/repos/acme/api/actions/workflows/ci.yml/dispatches"
AT = 1_767_574_800.0
API = RepoSpec("acme/api")


class Visitor:
    """Asks, a moment later each time."""

    def __init__(self, spec=API, **settings):
        self.world = GitHubLookAlike(Settings(repos=(spec,), queue=(1.0, 1.0), build=(2.0, 2.0), **settings))
        self.now = AT
        self.headers = {}

    def __call__(self, method, path, body=None, **headers):
        path, _, query = path.partition("?")
        pairs = [tuple(one.split("=")) for one in query.split("&") if one]
        sent = {name: value for name, value in {**HEADERS, **headers}.items() if value}
        raw = b"" if body is None else json.dumps(body).encode()
        reply = self.world.handle(Incoming(method, path, pairs, sent, raw), self.now)
        self.headers = {name.lower(): value for name, value in reply.headers.items()}
        return reply.status, json.loads(reply.body or b"null")

    def said(self, *call, **headers):
        status, body = self(*call, **headers)
        return status, body["message"]


def test_who_may_not_call_is_told_why():
    ask = Visitor()
    assert ask.said("GET", "/user", **{"user-agent": ""})[0] == 403
    assert ask.said("GET", "/user", authorization="Bearer wrong") == (401, "Bad credentials")
    assert ask.said("GET", "/user", authorization="") == (401, "Bad credentials")
    assert ask.said("GET", "/repos/acme/other") == (404, "Not Found")
    assert ask("GET", "/user", **{"x-github-api-version": "2026-03-10"})[0] == 200
    assert ask("GET", "/user", **{"x-github-api-version": "2020-01-01"})[0] == 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ref": "gone"}, "No ref found for: gone"),
        ({"ref": "0" * 40}, "No ref found"),
        ({}, '"ref" wasn\'t supplied'),
        ({"ref": "main", "x": 1}, '"x" is not a permitted key'),
        ({"ref": "main", "inputs": {f"i{n}": "" for n in range(26)}}, "Too many inputs"),
    ],
)
def test_a_dispatch_is_checked_as_github_does(body, words):
    status, said = Visitor().said("POST", DISPATCH, body)
    assert status == 422
    assert words in said


def test_a_dispatch_tells_the_run_where_that_is_asked_for_and_known():
    ask = Visitor()
    status, receipt = ask("POST", DISPATCH, {"ref": "refs/heads/main", "return_run_details": True})
    assert (status, sorted(receipt)) == (200, ["html_url", "run_url", "workflow_run_id"])
    assert receipt["workflow_run_id"] > 2**32
    assert receipt["run_url"].startswith("http://gh.test/repos/acme/api/actions/runs/")
    assert ask("POST", DISPATCH, {"ref": "main"}) == (204, None)
    assert ask("POST", DISPATCH, {"ref": "main"}, **{"x-github-api-version": "2026-03-10"})[0] == 200
    old = Visitor(version="3.20")
    assert "permitted" in old.said("POST", DISPATCH, {"ref": "main", "return_run_details": True})[1]
    assert old("POST", DISPATCH, {"ref": "main"}) == (204, None)


def test_missing_rights_and_disabled_workflows_are_refused():
    forbidden = Visitor(RepoSpec("acme/api", may_trigger=False))
    assert "not accessible" in forbidden.said("POST", DISPATCH, {"ref": "main"})[1]
    assert forbidden.headers["x-accepted-github-permissions"] == "actions=write"
    assert Visitor(RepoSpec("acme/api", archived=True)).said("POST", DISPATCH, {"ref": "main"})[0] == 403
    assert "disabled" in Visitor(RepoSpec("acme/api", disabled=True)).said("POST", DISPATCH, {"ref": "main"})[1]
    unmarked = Visitor(RepoSpec("acme/api", marker=False))
    assert "Unexpected inputs" in unmarked.said("POST", DISPATCH, {"ref": "main", "inputs": {"marker": "x"}})[1]


def test_a_run_goes_on_by_itself_and_is_canceled_and_run_again():
    ask = Visitor()
    _, receipt = ask("POST", DISPATCH, {"ref": "main", "return_run_details": True})
    run = f"/repos/acme/api/actions/runs/{receipt['workflow_run_id']}"
    seen = []
    for _ in range(5):
        _, row = ask("GET", run)
        seen.append((row["status"], row["conclusion"]))
        ask.now += 1.0
    assert list(dict.fromkeys(seen)) == [("queued", None), ("in_progress", None), ("completed", "success")]
    assert ask.said("POST", f"{run}/cancel")[0] == 409
    assert ask.said("POST", f"{run}/rerun-failed-jobs") == (403, "This workflow run cannot be retried")
    assert ask("POST", f"{run}/rerun") == (201, {})
    assert ask.said("POST", f"{run}/rerun") == (403, "This workflow is already running")
    assert ask("POST", f"{run}/cancel") == (202, {})
    ask.now += 5.0
    _, row = ask("GET", run)
    assert (row["run_attempt"], row["conclusion"]) == (2, "cancelled")


def test_limits_are_told_in_headers_and_kept():
    ask = Visitor(calls=3)
    left = [(ask("GET", "/user"), ask.headers["x-ratelimit-remaining"])[1] for _ in range(3)]
    assert left == ["2", "1", "0"]
    assert "API rate limit exceeded" in ask.said("GET", "/user")[1]
    few = Visitor(points=6)
    assert few("POST", DISPATCH, {"ref": "main"})[0] == 204
    assert few("GET", "/user")[0] == 200
    assert "secondary rate limit" in few.said("GET", "/user")[1]
    assert few.headers["retry-after"] == "60"
    slow = Visitor(writes=1)
    slow("POST", DISPATCH, {"ref": "main"})
    assert "secondary" in slow.said("POST", DISPATCH, {"ref": "main"})[1]


def test_an_answer_that_has_not_changed_is_a_304():
    ask = Visitor()
    ask("GET", "/repos/acme/api")
    tag, left = ask.headers["etag"], ask.headers["x-ratelimit-remaining"]
    for _ in range(2):
        assert ask("GET", "/repos/acme/api", **{"if-none-match": tag}) == (304, None)
        assert ask.headers["x-ratelimit-remaining"] == left
    assert ask("GET", "/user", **{"if-none-match": tag})[0] == 200


def test_listings_link_to_the_next_page():
    ask = Visitor(RepoSpec("acme/api", branches=tuple(f"b{n}" for n in range(50))))
    _, first = ask("GET", "/repos/acme/api/branches")
    assert len(first) == 30
    assert ask.headers["link"] == '<http://gh.test/repos/acme/api/branches?page=2>; rel="next"'
    _, second = ask("GET", "/repos/acme/api/branches?page=2&per_page=100")
    assert second == []
    assert "link" not in ask.headers


def test_a_repository_that_was_renamed_leads_to_its_new_name():
    ask = Visitor(RepoSpec("acme/old", moved_to="acme/new"))
    assert ask("GET", "/repos/acme/old/branches")[0] == 301
    assert ask.headers["location"] == "http://gh.test/repos/acme/new/branches"
    assert ask("POST", DISPATCH.replace("api", "old"), {"ref": "main"})[0] == 307


def test_graphql_shows_states_by_node_and_no_more_than_a_hundred():
    ask = Visitor()
    _, receipt = ask("POST", DISPATCH, {"ref": "main", "return_run_details": True})
    _, row = ask("GET", f"/repos/acme/api/actions/runs/{receipt['workflow_run_id']}")
    query = "query($a: [ID!]!) { n0: nodes(ids: $a) { id } }"
    _, found = ask("POST", "/graphql", {"query": query, "variables": {"a": [row["node_id"], "WFR_gone"]}})
    assert found["data"]["n0"][0]["checkSuite"] == {"status": "QUEUED", "conclusion": None}
    assert found["data"]["n0"][1] is None
    _, refused = ask("POST", "/graphql", {"query": query, "variables": {"a": ["x"] * 101}})
    assert refused["errors"][0]["type"] == "ARGUMENT_LIMIT"


def test_settings_are_read_and_odd_ones_refused():
    assert [spec.slug for spec in with_repos(Settings, {"repos": 2}).repos] == ["acme/svc-001", "acme/svc-002"]
    assert with_repos(Settings, {"repos": ["a/b", {"slug": "a/c", "topics": ["x"]}]}).repos[1].topics == ("x",)
    for wrong in ({"repos": ["a/b", "A/b"]}, {"repos": 10**9}, {"burst": "off"}, {"repos": [{"slug": "a/b", "x": 1}]}):
        with pytest.raises(UsageError):
            with_repos(Settings, wrong)
