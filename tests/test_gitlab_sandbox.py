"""GitLab's look-alike by itself: what it refuses, and in which words; how it shows what there is."""

import json
from urllib.parse import urlsplit

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.lookalike.gitlab import GitLabLookAlike
from orchestrator.lookalike.gitlab.settings import RepoSpec, Settings
from orchestrator.lookalike.kit.http import Incoming

HEADERS = {"private-token": "sandbox-token", "host": "gl.test"}
API = RepoSpec("acme/deep/api", branches=("main", "dev"), inputs=("level",))
LEAD = "/api/v4/projects/acme%2Fdeep%2Fapi"
CREATE, TRIGGER = f"{LEAD}/pipeline", f"{LEAD}/trigger/pipeline"
AT = 1_767_574_800.0
FORM = {"content-type": "application/x-www-form-urlencoded", "private-token": ""}


class Visitor:
    """Asks, a moment later each time."""

    def __init__(self, *specs, **settings):
        settings = {"queue": (1.0, 1.0), "build": (2.0, 2.0), **settings}
        self.world = GitLabLookAlike(Settings(repos=specs or (API,), **settings))
        self.now = AT
        self.headers = {}

    def raw(self, method, path, body=b"", **headers):
        path, _, query = path.partition("?")
        pairs = [tuple(one.split("=", 1)) for one in query.split("&") if one]
        sent = {name: value for name, value in {**HEADERS, **headers}.items() if value}
        reply = self.world.handle(Incoming(method, path, pairs, sent, body), self.now)
        self.headers = {name.lower(): value for name, value in reply.headers.items()}
        return reply.status, reply.body.decode()

    def __call__(self, method, path, body=None, **headers):
        status, text = self.raw(method, path, b"" if body is None else json.dumps(body).encode(), **headers)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def base(self, body, path=CREATE):
        status, said = self("POST", path, body)
        assert status == 400
        return said["message"]["base"]

    def ends(self, seconds=30.0):
        self.now += seconds


def test_either_header_opens_it_and_a_wrong_token_does_not():
    ask = Visitor()
    assert ask("GET", "/api/v4/user")[0] == 200
    assert ask("GET", "/api/v4/user", **{"private-token": "", "authorization": "Bearer sandbox-token"})[0] == 200
    for wrong in ({"private-token": "x"}, {"private-token": "", "authorization": "Bearer x"}, {"private-token": ""}):
        assert ask("GET", "/api/v4/user", **wrong) == (401, {"message": "401 Unauthorized"})


def test_a_project_is_found_by_path_or_number_and_a_hidden_one_by_nobody():
    ask = Visitor(API, RepoSpec("acme/secret", private=True))
    assert ask("GET", LEAD)[1]["id"] == ask("GET", "/api/v4/projects/77")[1]["id"] == 77
    assert ask("GET", "/api/v4/projects/ACME%2fDeep%2fapi")[1]["path_with_namespace"] == "acme/deep/api"
    assert ask("GET", "/api/v4/projects/acme%2Fgone") == (404, {"message": "404 Project Not Found"})
    assert ask("POST", "/api/v4/projects/acme%2Fsecret/trigger/pipeline", {"token": "x", "ref": "main"},
               **{"private-token": ""})[0] == 404  # fmt: skip


def test_a_token_that_may_only_read_changes_nothing():
    ask = Visitor(scopes=("read_api",))
    status, said = ask("POST", CREATE, {"ref": "main"})
    assert (status, said["error"], said["scope"]) == (403, "insufficient_scope", "api")
    assert ask("POST", "/api/graphql", {"query": "x"})[0] == 200


def test_a_pipeline_is_made_with_all_its_fields():
    ask = Visitor()
    sent = {"ref": "main", "variables": [{"key": "A", "value": "1"}], "inputs": {"level": 3}}
    status, row = ask("POST", CREATE, sent)
    assert (status, row["status"], row["source"], row["ref"], row["iid"]) == (201, "created", "api", "main", 1)
    assert row["web_url"] == f"http://gl.test/acme/deep/api/-/pipelines/{row['id']}"
    assert ask("GET", f"{LEAD}/pipelines/{row['id']}/variables")[1][0]["value"] == "1"


@pytest.mark.parametrize(
    ("spec", "body", "words"),
    [
        ({}, {"ref": "gone"}, "Reference not found"),
        ({}, {"ref": "0" * 40}, "Reference not found"),
        ({}, {"ref": "main", "inputs": {"x": 1}}, "not defined"),
        ({}, {"ref": "main", "variables": [{"key": "A", "value": "1"}] * 2}, "Duplicate variable name: A"),
        ({"variables": False}, {"ref": "main", "variables": [{"key": "A", "value": "1"}]}, "set pipeline variables"),
        ({"builds": False}, {"ref": "main"}, "Pipelines are disabled!"),
        ({"filtered": True}, {"ref": "main"}, "filtered out by workflow rules"),
        ({"may_trigger": False}, {"ref": "main"}, "create a new pipeline"),
    ],
)
def test_a_pipeline_is_refused_as_gitlab_does_and_nothing_is_stored(spec, body, words):
    ask = Visitor(RepoSpec("acme/deep/api", **spec))
    assert words in ask.base(body)[0]
    assert ask("GET", f"{LEAD}/pipelines")[1] == []


def test_parameters_are_checked_before():
    ask = Visitor()
    assert ask("POST", CREATE, {}) == (400, {"error": "ref is missing"})
    assert ask("POST", TRIGGER, {}) == (400, {"error": "ref is missing, token is missing"})
    assert ask("POST", CREATE, {"ref": "main", "variables": {"A": "1"}}) == (400, {"error": "variables is invalid"})
    nested = {"ref": "main", "token": "sandbox-trigger-token", "variables": {"A": {"B": 1}}}
    assert "map of key-valued strings" in ask("POST", TRIGGER, nested)[1]["message"]
    assert ask("PATCH", CREATE)[0] == 405


def test_the_limit_of_new_pipelines_is_a_400_for_one_commit():
    ask = Visitor(API, RepoSpec("acme/b"), creates=2)
    for ref in ("main", "main", "dev", "dev"):
        assert ask("POST", CREATE, {"ref": ref})[0] == 201
    assert "Too many pipelines created" in ask.base({"ref": "main"})[0]
    assert ask("POST", "/api/v4/projects/acme%2Fb/pipeline", {"ref": "main"})[0] == 201
    ask.now += 60
    assert ask("POST", CREATE, {"ref": "main"})[0] == 201


def test_a_trigger_token_opens_one_door_only_in_every_form():
    ask = Visitor(RepoSpec("acme/deep/api", trigger_token="glptt-1"))
    form = b"token=glptt-1&ref=main&variables[A]=1"
    status, text = ask.raw("POST", TRIGGER, form, **FORM)
    row = json.loads(text)
    assert (status, row["source"]) == (201, "trigger")
    [sent] = ask("GET", f"{LEAD}/pipelines/{row['id']}/variables")[1]
    assert (sent["key"], sent["value"]) == ("A", "1")
    assert ask("POST", f"{TRIGGER}?token=glptt-1&ref=main", **{"private-token": ""})[0] == 201
    by_url = f"{LEAD}/ref/main/trigger/pipeline"
    assert ask("POST", by_url, {"token": "glptt-1", "ref": "gone", "inputs": {}}, **{"private-token": ""})[0] == 201
    assert ask("POST", TRIGGER, {"token": "wrong", "ref": "main"}) == (404, {"message": "404 Not Found"})
    assert ask("GET", f"{LEAD}/pipelines", **{"private-token": "glptt-1"})[0] == 401
    looped = {"token": "glptt-1", "ref": "main"}
    assert ask("POST", TRIGGER, looped, **{"x-gitlab-event": "Pipeline Hook"})[0] == 403


def test_calls_are_counted_and_throttled_in_plain_text():
    ask = Visitor(calls=2)
    assert ask("GET", "/api/v4/user")[0] == 200
    assert (ask.headers["ratelimit-limit"], ask.headers["ratelimit-remaining"]) == ("2", "1")
    ask("GET", "/api/v4/user")
    assert ask("GET", "/api/v4/user") == (429, "Retry later\n")
    assert ask.headers["retry-after"] == "61"
    assert "ratelimit-limit" not in self_managed_headers()


def self_managed_headers():
    ask = Visitor(calls=0)
    ask("GET", "/api/v4/user")
    return ask.headers


def test_single_projects_have_a_limit_of_their_own_in_json():
    ask = Visitor(projects=1)
    assert ask("GET", LEAD)[0] == 200
    status, said = ask("GET", LEAD)
    assert (status, "too many times" in said["message"]["error"]) == (429, True)


def test_a_304_counts_as_a_call():
    ask = Visitor()
    ask("GET", "/api/v4/user")
    tag, left = ask.headers["etag"], int(ask.headers["ratelimit-remaining"])
    assert tag.startswith('W/"')
    assert ask("GET", "/api/v4/user", **{"if-none-match": tag})[0] == 304
    assert int(ask.headers["ratelimit-remaining"]) == left - 1


def made(ask, count=1, path=CREATE, ref="main"):
    return [ask("POST", path, {"ref": ref})[1]["id"] for _ in range(count)]


def test_a_cancel_is_a_promise_and_one_of_what_has_ended_is_fine_too():
    ask = Visitor()
    [id_] = made(ask)
    assert ask("POST", f"{LEAD}/pipelines/{id_}/cancel")[1]["status"] == "canceling"
    ask.ends()
    assert ask("GET", f"{LEAD}/pipelines/{id_}")[1]["status"] == "canceled"
    assert ask("POST", f"{LEAD}/pipelines/{id_}/cancel")[0] == 200


def test_a_retry_starts_what_failed_under_the_same_id_with_a_new_job():
    from orchestrator.core.rehearsal import Rehearsal

    ask = Visitor(rehearsal=Rehearsal(flakes=("acme/deep/api",)))
    [id_] = made(ask)
    ask.ends()
    before = ask("GET", f"{LEAD}/pipelines/{id_}/jobs?scope[]=failed")[1]
    status, row = ask("POST", f"{LEAD}/pipelines/{id_}/retry")
    assert (status, row["id"], row["status"], row["finished_at"]) == (201, id_, "pending", None)
    ask.ends()
    after = ask("GET", f"{LEAD}/pipelines/{id_}/jobs")[1]
    assert [job["status"] for job in (*before, *after)] == ["failed", "success"]
    assert before[0]["id"] != after[0]["id"]
    again = ask("POST", f"{LEAD}/pipelines/{id_}/retry")
    assert (again[0], again[1]["status"]) == (201, "success")


def test_offsets_lead_on_by_headers_and_keys_by_a_link_alone():
    ask = Visitor(*(RepoSpec(f"acme/p{n}") for n in range(5)))
    assert len(ask("GET", "/api/v4/groups/acme/projects?per_page=2")[1]) == 2
    assert (ask.headers["x-next-page"], ask.headers["x-total"], ask.headers["x-total-pages"]) == ("2", "5", "3")
    ask("GET", "/api/v4/groups/acme/projects?per_page=2&page=3")
    assert ask.headers["x-next-page"] == ""
    assert (ask.headers["x-prev-page"], 'rel="next"' in ask.headers["link"]) == ("2", False)
    path, seen = "/api/v4/groups/acme/projects?per_page=2&pagination=keyset&order_by=id&sort=asc", []
    while path:
        seen += [row["id"] for row in ask("GET", path)[1]]
        assert "x-total" not in ask.headers
        link = ask.headers.get("link", "").partition(">")[0].removeprefix("<")
        path = link and f"{urlsplit(link).path}?{urlsplit(link).query}"
    assert seen == [77, 78, 79, 80, 81]


def test_subgroups_are_listed_where_they_are_asked_for():
    ask = Visitor(RepoSpec("acme/a"), RepoSpec("acme/deep/b"), RepoSpec("acme/old", archived=True))

    def slugs(query):
        return [row["path_with_namespace"] for row in ask("GET", f"/api/v4/groups/acme/projects?{query}")[1]]

    assert slugs("") == ["acme/a", "acme/old"]
    assert slugs("include_subgroups=true&archived=false") == ["acme/a", "acme/deep/b"]
    assert ask("GET", "/api/v4/groups/nobody/projects")[0] == 404


def test_pipelines_are_listed_short_and_filtered():
    ask = Visitor(RepoSpec("acme/deep/api", branches=("main", "dev"), starts=("acme/deep/api",)))
    first = made(ask)[0]
    ask.now += 1
    second = made(ask, ref="dev")[0]

    def ids(query=""):
        return [row["id"] for row in ask("GET", f"{LEAD}/pipelines?{query}")[1]]

    assert ids() == [second, first]
    assert ids("ref=main") == [first]
    assert ids("source=parent_pipeline") == [second + 1, first + 1]
    assert ids("created_after=2026-01-05T01:00:01.000Z") == [second]
    assert ids("sort=asc") == [first, second]
    assert "user" not in ask("GET", f"{LEAD}/pipelines")[1][0]
    ask.ends()
    assert len(ids("scope=finished")) == 2
    [bridge] = ask("GET", f"{LEAD}/pipelines/{first}/bridges")[1]
    assert (bridge["downstream_pipeline"]["id"], bridge["allow_failure"]) == (first + 1, False)


def test_variables_may_be_hidden():
    ask = Visitor(RepoSpec("acme/deep/api", hidden=True))
    [id_] = made(ask)
    assert ask("GET", f"{LEAD}/pipelines/{id_}/variables") == (403, {"message": "403 Forbidden"})


def test_graphql_shows_pipelines_by_aliases_up_to_its_complexity():
    ask = Visitor()
    [id_] = made(ask)

    def query(count, path="acme/deep/api"):
        field = f'project(fullPath: "{path}") {{ pipeline(id: "gid://gitlab/Ci::Pipeline/{id_}") {{ id status }} }}'
        return ask("POST", "/api/graphql", {"query": " ".join(f"p{n}: {field}" for n in range(count))})[1]

    found = query(2)["data"]
    assert found["p1"]["pipeline"]["status"] == "PENDING"
    assert found["queryComplexity"] == {"score": 18, "limit": 250}
    assert query(1, "acme/gone")["data"]["p0"] is None
    assert "exceeds max complexity" in query(28)["errors"][0]["message"]


def test_a_project_that_moved_is_elsewhere_by_its_number():
    ask = Visitor(RepoSpec("acme/old", moved_to="acme/new"))
    for method in ("GET", "POST"):
        assert ask.raw(method, "/api/v4/projects/acme%2Fold/pipeline")[0] in (301, 405)
    ask.raw("POST", "/api/v4/projects/acme%2Fold/pipeline")
    assert ask.headers["location"] == "http://gl.test/api/v4/projects/77/pipeline"


def test_settings_are_read_as_those_of_every_type():
    def parse(given):
        return GitLabLookAlike.from_settings(given).settings

    found = parse({"repos": ["acme/deep/a", {"slug": "b/c", "rests": "manual"}], "time_scale": 10, "build": "20s"})
    assert [spec.slug for spec in found.repos] == ["acme/deep/a", "b/c"]
    assert found.scaled().build == (2.0, 2.0)
    assert len(parse({"repos": 3}).repos) == 3
    for wrong in ({"repos": [{"slug": "a/b", "rests": "idle"}]}, {"repos": ["a/b", "A/b"]}, {"nothing": 1}):
        with pytest.raises(UsageError):
            parse(wrong)
