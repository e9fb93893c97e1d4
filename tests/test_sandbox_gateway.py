"""The way in: token, bans, version, routes."""

import base64
import json

import pytest
from sandbox_visitor import HEADERS, START, WIDGET, Visitor

from orchestrator.lookalike.kit.counters import worst_window
from orchestrator.lookalike.kit.settings import Rule
from orchestrator.lookalike.travis.settings import RepoSpec


def without(name):
    return {key: value for key, value in HEADERS.items() if key != name}


def with_token(text):
    return {**HEADERS, "authorization": text}


@pytest.mark.parametrize(
    "text",
    [
        "token sandbox-token",
        'token "sandbox-token"',
        "basic " + base64.b64encode(b"sandbox-token:").decode(),
    ],
)
def test_these_spellings_of_the_credentials_are_accepted(text):
    assert Visitor().call("GET", "/user", headers=with_token(text)).status == 200


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer", "TOKEN"])
def test_another_scheme_with_a_good_token_is_refused_in_json(scheme):
    status, body = Visitor().refused("GET", "/user", headers=with_token(f"{scheme} sandbox-token"))
    assert (status, body["error_type"], body["error_message"]) == (403, "wrong_credentials", "access denied")


@pytest.mark.parametrize("text", ["token nobody", "Bearer nobody", "basic !!!", "token "])
def test_an_unknown_token_is_refused_in_plain_text(text):
    reply = Visitor().call("GET", "/user", headers=with_token(text))
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (
        403,
        "text/html;charset=utf-8",
        b"access denied",
    )


@pytest.mark.parametrize("path", ["/user", "/repos", "/builds"])
def test_what_belongs_to_a_user_needs_a_login(path):
    assert Visitor().refused("GET", path, headers=without("authorization"))[1]["error_type"] == "login_required"


def test_public_repos_are_shown_to_strangers_and_private_ones_are_not():
    visitor = Visitor(repos=(RepoSpec("acme/open"), RepoSpec("acme/secret", private=True)))
    assert visitor.call("GET", "/repo/acme%2Fopen", headers=without("authorization")).status == 200
    assert visitor.call("GET", "/repo/acme%2Fsecret", headers=without("authorization")).status == 404
    assert visitor.call("GET", "/repo/acme%2Fsecret").status == 200


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/user", {"travis-api-version": "3"}),
        ("/user", {"accept": "application/vnd.travis-ci.3+json"}),
        ("/v3/user", {}),
    ],
)
def test_each_way_to_choose_version_three_is_enough(path, extra):
    headers = {name: HEADERS[name] for name in ("authorization",)} | extra
    assert Visitor().call("GET", path, headers=headers).status == 200


@pytest.mark.parametrize("headers", [without("travis-api-version"), {**HEADERS, "travis-api-version": "3.0"}])
def test_without_a_version_the_old_api_answers(headers):
    reply = Visitor().call("GET", "/user", headers=headers)
    assert (reply.status, json.loads(reply.body)) == (404, {"file": "not found"})


def test_the_bare_version_redirects():
    reply = Visitor().call("GET", "/v3")
    assert (reply.status, reply.headers["Location"]) == (307, "/v3/")


def test_addresses_repeat_the_version_prefix_except_in_a_202():
    visitor = Visitor()
    assert visitor.get("/v3/repo/4711")["@href"] == "/v3/repo/4711"
    reply = visitor.call("POST", "/v3/repo/4711/requests")
    assert json.loads(reply.body)["repository"]["@href"] == "/repo/4711"


def test_an_installation_may_live_below_a_prefix():
    visitor = Visitor(prefix="/api")
    assert visitor.call("GET", "/api/user").status == 200
    assert visitor.call("GET", "/user").status == 404
    assert visitor.call("GET", "/apiuser").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/repo/4711",
        "/repo/acme%2Fwidget",
        "/repo/acme%2fwidget",
        "/repo/ACME%2FWidget",
        "/repo/github/acme%2Fwidget",
        "/repo/github/4711",
    ],
)
def test_a_repo_answers_to_number_slug_case_and_provider(path):
    assert Visitor().get(path)["id"] == 4711


@pytest.mark.parametrize(
    "path", ["/repo/acme/widget", "/repo/acme/widget/requests", "/repo/widget", "/nowhere", "/repo"]
)
def test_a_path_that_no_route_fits_is_not_found_without_a_resource(path):
    status, body = Visitor().refused("GET", path)
    assert (status, body["error_message"]) == (404, "resource not found (or insufficient access)")
    assert "resource_type" not in body


def test_a_slug_has_one_slash_and_may_have_other_encoded_characters():
    visitor = Visitor(repos=(RepoSpec("acme/a b"),))
    assert visitor.get("/repo/acme%2Fa%20b")["slug"] == "acme/a b"
    assert visitor.refused("GET", "/repo/acme%2Fa%2Fb")[1].get("resource_type") is None


def test_each_provider_of_repositories_has_its_own_names():
    visitor = Visitor(repos=(RepoSpec("acme/widget"), RepoSpec("acme/widget", vcs="gitlab")))
    assert visitor.get("/repo/gitlab/acme%2Fwidget")["vcs_type"] == "GitlabRepository"
    assert visitor.get("/owner/gitlab/acme/repos")["repositories"][0]["vcs_type"] == "GitlabRepository"
    assert visitor.call("GET", "/repo/bitbucket/acme%2Fwidget").status == 404


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/repo/acme%2Fnone", "repository"),
        ("/repo/1/request/1", "request"),
        ("/build/1", "build"),
        ("/job/1", "job"),
        ("/owner/none", "owner"),
    ],
)
def test_what_is_not_there_names_its_kind(path, resource):
    status, body = Visitor().refused("GET", path)
    assert (status, body["error_type"], body["resource_type"]) == (404, "not_found", resource)
    assert body["error_message"] == f"{resource} not found (or insufficient access)"


@pytest.mark.parametrize(("method", "path"), [("DELETE", WIDGET), ("PUT", f"{WIDGET}/requests"), ("POST", "/user")])
def test_a_wrong_method_is_refused(method, path):
    status, body = Visitor().refused(method, path)
    assert (status, body["error_type"]) == (405, "method_not_allowed")


def test_unknown_query_parameters_warn():
    found = Visitor().get("/user", nonsense="1")
    assert found["@warnings"][0]["parameter"] == "nonsense"
    assert next(iter(found)) == "@warnings"


def test_answers_say_which_service_made_them_when_and_for_which_call():
    reply = Visitor().call("GET", "/user", headers={**HEADERS, "x-request-id": "abc"})
    assert reply.headers == {
        "Content-Type": "application/json",
        "X-Endpoint": "Travis::API::V3::Services::User::Current",
        "X-OAuth-Scopes": "public,private",
        "X-Request-ID": "abc",
        "Vary": "Accept-Encoding",
        "Date": "Fri, 15 Jan 2027 08:00:00 GMT",
    }


def test_the_fiftieth_post_in_a_window_works_and_bans_every_method_for_an_hour():
    visitor = Visitor(hourly=1000)
    statuses = [visitor.call("POST", "/build/1/cancel").status for _ in range(49)]
    assert statuses == [404] * 49
    assert visitor.call("POST", f"{WIDGET}/requests").status == 202
    for method, path in (("GET", "/user"), ("POST", f"{WIDGET}/requests"), ("GET", "/nowhere")):
        reply = visitor.call(method, path)
        assert (reply.status, reply.headers["Content-Type"], reply.body) == (403, "text/plain", b"Forbidden\n")
    assert visitor.later(3599).call("GET", "/user").status == 403
    assert visitor.later(1).call("GET", "/user").status == 200


def test_windows_of_the_burst_rule_are_aligned_to_the_epoch():
    visitor = Visitor(hourly=1000)
    for _ in range(2):  # 98 POSTs within two seconds, on both sides of a boundary
        visitor.now = START + 29 if visitor.now == START else START + 30
        for _ in range(49):
            visitor.call("POST", "/build/1/cancel")
    assert visitor.call("GET", "/user").status == 200
    assert worst_window(visitor.world.counters.posts, 30) == 98


def test_a_ban_is_for_one_token():
    visitor = Visitor(others={"second": "else"})
    visitor.world.bans.ban("sandbox-token", START + 60)
    assert visitor.call("GET", "/user").status == 403
    assert visitor.call("GET", "/user", headers=with_token("token second")).status == 200


def test_more_than_two_thousand_calls_a_minute_are_throttled_until_the_minute_is_over():
    visitor = Visitor()
    assert {visitor.call("GET", "/").status for _ in range(2000)} == {200}
    reply = visitor.call("GET", "/user")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (429, "text/plain", b"Retry later\n")
    assert "Retry-After" not in reply.headers
    assert visitor.later(60).call("GET", "/user").status == 200


def test_strangers_have_five_hundred_calls_a_minute():
    visitor = Visitor()
    statuses = [visitor.call("GET", "/", headers=without("authorization")).status for _ in range(501)]
    assert statuses == [200] * 500 + [429]


def test_enterprise_has_neither_ban_nor_throttle():
    visitor = Visitor(burst=None, minute=None)
    assert {visitor.call("POST", "/build/1/cancel").status for _ in range(2500)} == {404}


def test_rules_can_be_scaled():
    visitor = Visitor(burst=Rule(5, 1.0, 2.0), time_scale=2.0)
    for _ in range(5):
        visitor.call("POST", "/build/1/cancel")
    assert visitor.call("GET", "/user").status == 403
    assert visitor.later(1.0).call("GET", "/user").status == 200
