"""Accepting a request: body, order of checks, hourly limit, echo."""

import json

import pytest
from sandbox_visitor import HEADERS, WIDGET, Visitor

from orchestrator.lookalike.travis.settings import RepoSpec

CONFIG = {"env": {"global": ["BATCH_RUN=01JX8"]}}
MINIMAL = {
    "@type": "repository",
    "@href": "/repo/4711",
    "@representation": "minimal",
    "id": 4711,
    "name": "widget",
    "slug": "acme/widget",
}


def test_a_success_is_the_documented_202():
    found = Visitor().create(branch="main", message="nightly", config=CONFIG, merge_mode="deep_merge_append")
    text = '{"env":{"global":["BATCH_RUN=01JX8"]}}'
    assert found == {
        "@type": "pending",
        "remaining_requests": 10,
        "repository": MINIMAL,
        "request": {
            "repository": {
                "id": 904711,
                "vcs_type": "GithubRepository",
                "owner_name": "acme",
                "name": "widget",
            },
            "user": {"id": 77},
            "id": 31337,
            "message": "nightly",
            "branch": "main",
            "configs": [{"config": text, "mode": "deep_merge_append"}],
            "merge_mode": "deep_merge_append",
            "config": text,
        },
        "resource_type": "request",
    }


def test_the_echo_drops_null_keys_but_keeps_a_null_mode():
    echo = Visitor().create(branch="main", message=None, sha=None, config=CONFIG)["request"]
    assert {"message", "sha", "tag_name", "merge_mode"}.isdisjoint(echo)
    assert echo["configs"][0]["mode"] is None


def test_several_configs_are_echoed_as_texts_with_their_modes():
    echo = Visitor().create(configs=[{"config": CONFIG, "mode": "merge"}, {"config": "a: 1", "merge_mode": "replace"}])
    assert [each["mode"] for each in echo["request"]["configs"]] == ["merge", "replace"]
    assert echo["request"]["configs"][1]["config"] == "a: 1"
    assert "config" not in echo["request"]


def test_a_token_in_the_request_is_never_echoed():
    assert "s3cret" not in json.dumps(Visitor().create(token="s3cret"))


def test_an_empty_body_builds_the_default_branch():
    visitor = Visitor()
    reply = visitor.call("POST", f"{WIDGET}/requests")
    assert reply.status == 202
    assert json.loads(reply.body)["request"]["branch"] == "main"


@pytest.mark.parametrize(
    "body",
    [
        {"request": {"branch": "release/2.x", "message": "m"}},
        {"branch": "release/2.x", "message": "m"},
        {"@type": "request", "branch": "release/2.x", "message": "m"},
    ],
)
def test_all_encodings_of_the_body_mean_the_same(body):
    visitor = Visitor()
    visitor.call("POST", f"{WIDGET}/requests", body=body)
    [row] = [each.as_json() for each in visitor.world.counters.accepted]
    assert (row["branch"], row["message"]) == ("release/2.x", "m")


def test_a_tag_name_counts_only_inside_the_request():
    visitor = Visitor()
    visitor.create(tag_name="v1")
    visitor.call("POST", f"{WIDGET}/requests", body={"tag_name": "v2"})
    assert [row["tag_name"] for row in [each.as_json() for each in visitor.world.counters.accepted]] == ["v1", None]


def test_unknown_keys_warn_at_the_top_and_vanish_inside():
    visitor = Visitor()
    found = json.loads(visitor.call("POST", f"{WIDGET}/requests", body={"nonsense": 1, "request": {"tag": "x"}}).body)
    assert next(iter(found)) == "@warnings"
    assert [(each["warning_type"], each["parameter"]) for each in found["@warnings"]] == [
        ("ignored_parameter", "nonsense")
    ]


def test_an_id_in_the_body_is_ignored_and_equal_posts_are_two_requests():
    visitor = Visitor()
    ids = [visitor.create(id=1, message="same")["request"]["id"] for _ in range(2)]
    assert ids == [31337, 31338]


SCENES = {
    "acme/closed": RepoSpec("acme/closed", may_trigger=False, active=False),
    "acme/idle": RepoSpec("acme/idle", active=False, hourly=0),
    "acme/ghost": RepoSpec("acme/ghost", known=False, active=False),
    "acme/full": RepoSpec("acme/full", hourly=0),
}


@pytest.mark.parametrize(
    ("slug", "status", "kind", "more"),
    [
        ("acme/ghost", 404, "not_found", {"resource_type": "repository"}),
        ("acme/closed", 403, "insufficient_access", {"permission": "create_request", "resource_type": "repository"}),
        ("acme/idle", 406, "repository_inactive", {}),
        ("acme/full", 429, "request_limit_reached", {"max_requests": 0, "per_seconds": 3600}),
    ],
)
def test_the_first_check_that_fails_decides_and_nothing_is_written(slug, status, kind, more):
    visitor = Visitor(repos=tuple(SCENES.values()))
    found, body = visitor.refused("POST", f"/repo/{slug.replace('/', '%2F')}/requests")
    assert (found, body["@type"], body["error_type"]) == (status, "error", kind)
    assert more.items() <= body.items()
    assert ("repository" in body) == (kind != "not_found")
    assert visitor.world.counters.accepted == []


def test_without_a_token_login_is_required_even_for_an_unknown_repo():
    anonymous = {name: value for name, value in HEADERS.items() if name != "authorization"}
    status, body = Visitor().refused("POST", "/repo/no%2Fsuch/requests", headers=anonymous)
    assert (status, body) == (
        403,
        {"@type": "error", "error_type": "login_required", "error_message": "login required"},
    )


def test_a_torn_body_is_refused_before_the_token_is_looked_at():
    status, body = Visitor().refused(
        "POST", f"{WIDGET}/requests", headers={**HEADERS, "authorization": "token wrong"}, body=b'{"request":'
    )
    assert (status, body) == (400, {"error": "Failed to parse body as JSON"})


def test_the_hour_slides_and_the_rest_is_told_before_the_new_row():
    visitor = Visitor()
    told = [visitor.later(60).create()["remaining_requests"] for _ in range(10)]
    assert told == list(range(10, 0, -1))
    status, body = visitor.later(60).refused("POST", f"{WIDGET}/requests")
    assert (status, body["max_requests"], body["per_seconds"]) == (429, 10, 3600)
    assert body["repository"] == MINIMAL
    assert visitor.later(3600 - 11 * 60).refused("POST", f"{WIDGET}/requests")[0] == 429
    assert visitor.later(60).create()["remaining_requests"] == 1


def test_rejected_requests_count_against_the_hour_and_refused_ones_do_not():
    visitor = Visitor(repos=(RepoSpec("acme/widget", hourly=2, rejects="abuse detected: x"),))
    visitor.create()
    assert visitor.later(60).create()["remaining_requests"] == 1
    for _ in range(5):
        assert visitor.refused("POST", f"{WIDGET}/requests")[0] == 429
    assert visitor.later(3541).create()["remaining_requests"] == 1


def test_each_repo_has_its_own_hour():
    visitor = Visitor(hourly=1)
    visitor.create()
    assert visitor.create("/repo/acme%2Fsvc-001")["remaining_requests"] == 1


def test_the_time_scale_shortens_the_hour_and_says_so():
    visitor = Visitor(hourly=1, time_scale=60.0)
    visitor.create()
    assert visitor.refused("POST", f"{WIDGET}/requests")[1]["per_seconds"] == 60
    assert visitor.later(61).create()["remaining_requests"] == 1
