import shlex

import pytest

from orchestrator.core.calls import Answer
from orchestrator.core.errors import AccessRefused, InDoubt, NotTriggered, RateLimited, Rejected, UsageError
from orchestrator.core.model import Learnt, Request, Scope, Target, Trigger
from orchestrator.providers.kit import answers
from orchestrator.providers.travis import observe, wire
from orchestrator.providers.travis.declaration import API_COM

MARKER = "[01JX8.abcdefgh]"


def target(repo="acme/widget", branch="main", **request):
    return Target(f"travis:{repo}@{branch}", "travis", repo, branch, request=request)


def trigger(wished=None, marker=None, run_name="nightly"):
    return Trigger(wished or target(), 1, marker, run_name)


def no_secrets(reference):
    raise AssertionError(f"resolved {reference}")


def call(wished, marker=None):
    return wire.trigger_call(trigger(wished, marker), no_secrets)


def sent(wished, marker=None):
    body = call(wished, marker).body
    assert list(body) == ["request"]
    return body["request"]


# -- what is sent ----------------------------------------------------------------------------------------------------


def test_the_two_examples_of_travis_own_page():
    minimal = call(target("travis-ci/travis-core", "master"))
    assert minimal.method == "POST"
    assert minimal.path == "/repo/travis-ci%2Ftravis-core/requests"
    assert minimal.body == {"request": {"branch": "master"}}
    override = target(
        "travis-ci/travis-core",
        "master",
        message="Override the commit message: this is an api request",
        config={"env": {"matrix": ["TEST=unit"]}, "script": "echo FOO"},
    )
    assert call(override).body == {
        "request": {
            "message": "Override the commit message: this is an api request",
            "branch": "master",
            "config": {"env": {"matrix": ["TEST=unit"]}, "script": "echo FOO"},
        }
    }


def test_a_trigger_counts_against_all_limits_and_looks_count_as_calls():
    made = call(target())
    assert (made.purpose, made.limits, made.repo) == (
        "trigger",
        ("triggers", "calls", "triggers_per_repo"),
        "acme/widget",
    )
    assert made.secret is False


@pytest.mark.parametrize(
    ("repo", "vcs", "path"),
    [
        ("acme/widget", None, "/repo/acme%2Fwidget"),
        ("acme/sub/widget", "gitlab", "/repo/gitlab/acme%2Fsub%2Fwidget"),
        ("4711", None, "/repo/4711"),
        ("4711", "bitbucket", "/repo/bitbucket/4711"),
        ("acme/a b?c#d%2F", None, "/repo/acme%2Fa%20b%3Fc%23d%252F"),
        ("acme/../x", None, "/repo/acme%2F..%2Fx"),
        ("٤٧", None, "/repo/%D9%A4%D9%A7"),
    ],
)
def test_a_repository_is_one_segment_of_the_path(repo, vcs, path):
    assert wire.repo_path(repo, vcs) == path


def test_everything_a_request_may_say_is_sent_and_nothing_else():
    said = {
        "message": "hello",
        "sha": "0f3c",
        "tag_name": "v1",
        "config": {"script": ["make"]},
        "configs": [{"config": {"a": 1}, "mode": "merge"}],
        "merge_mode": "deep-merge",
        "vcs": "github",
        "timeouts": {"build": 5},
    }
    expected = {key: value for key, value in said.items() if key not in ("vcs", "timeouts")}
    assert sent(target(**said)) == {"branch": "main", **expected}


def test_what_is_not_said_is_not_sent():
    assert sent(target(branch=None)) == {}
    assert sent(target(branch=None, sha=None, env={})) == {}


def test_the_marker_follows_the_message_and_the_runs_name_where_there_is_none():
    assert sent(target(message="rebuild"), MARKER)["message"] == f"rebuild {MARKER}"
    assert sent(target(), MARKER)["message"] == f"nightly {MARKER}"


def test_variables_become_shell_quoted_strings_for_all_jobs():
    values = {"A": "1", "IMAGE": "ubuntu:24.04", "B": "two words", "C": "it's $HOME", "D": "", "E": "a\nb", "F": "ü"}
    pairs = sent(target(env=values))["config"]["env"]["global"]
    assert pairs[:3] == ["A=1", "IMAGE=ubuntu:24.04", "B='two words'"]
    assert [shlex.split(pair) for pair in pairs] == [[f"{name}={value}"] for name, value in values.items()]


def test_a_variable_that_was_removed_is_not_sent():
    assert sent(target(env={"A": "1", "B": None}))["config"] == {"env": {"global": ["A=1"]}}


def test_variables_join_the_config_and_bring_no_merge_mode_of_their_own():
    config = {"script": "make"}
    assert sent(target(env={"A": "1"}, config=config)) == {
        "branch": "main",
        "config": {"script": "make", "env": {"global": ["A=1"]}},
    }
    assert config == {"script": "make"}


def test_variables_beside_a_config_in_text_or_several_configs_become_an_entry_of_their_own():
    mine = {"config": {"env": {"global": ["A=1"]}}, "mode": "deep_merge_append"}
    text = sent(target(env={"A": "1"}, config="script: make", merge_mode="merge"))
    assert text == {"branch": "main", "configs": [mine, {"config": "script: make", "mode": "merge"}]}
    entries = [{"config": {"script": "make"}, "mode": "replace"}]
    several = sent(target(env={"A": "1"}, configs=entries, merge_mode="merge"))
    assert several == {"branch": "main", "configs": [mine, *entries], "merge_mode": "merge"}
    assert len(entries) == 1


def test_a_request_token_is_resolved_when_it_is_sent_and_the_call_says_that_it_holds_a_secret():
    made = wire.trigger_call(trigger(target(request_token="env:HOOK")), {"env:HOOK": "s3cr3t"}.__getitem__)
    assert made.body == {"request": {"branch": "main", "token": "s3cr3t"}}
    assert made.secret


def test_a_request_token_that_cannot_be_resolved_stops_before_anything_is_sent():
    def secrets(reference):
        raise UsageError(reference)

    with pytest.raises(UsageError, match="env:HOOK"):
        wire.trigger_call(trigger(target(request_token="env:HOOK")), secrets)


def test_what_a_dry_run_shows_holds_no_secret():
    assert "token" not in wire.request_body(trigger(target(request_token="env:HOOK")))


def test_every_call_carries_the_version_and_the_lower_case_scheme():
    assert wire.headers(None, "T") == {
        "Travis-API-Version": "3",
        "Authorization": "token T",
        "Accept": "application/json",
    }


# -- what comes back -------------------------------------------------------------------------------------------------

REPOSITORY = {"@type": "repository", "@href": "/repo/4711", "id": 4711, "name": "widget", "slug": "acme/widget"}
ACCEPTED = {
    "@type": "pending",
    "remaining_requests": 10,
    "repository": REPOSITORY,
    "request": {"repository": {"id": 900001}, "user": {"id": 77}, "id": 31337, "branch": "main"},
    "resource_type": "request",
}


def receipt(answer, wished=None):
    return wire.read_receipt(trigger(wished), answer, API_COM)


def test_an_accepted_trigger_gives_the_id_and_the_number_of_the_repository():
    page = "https://app.travis-ci.com/github/acme/widget/requests?requestId=31337"
    assert receipt(Answer(202, ACCEPTED)) == Request("31337", {"v": 1, "repo": 4711}, page)


def test_a_repository_given_by_its_number_is_remembered_by_its_name():
    moved = {**ACCEPTED, "repository": {**REPOSITORY, "slug": "acme/gadget"}}
    request = receipt(Answer(202, moved), target("4711"))
    assert request.handle == {"v": 1, "repo": 4711, "slug": "acme/gadget"}
    assert "acme/gadget" in request.url


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request": {}},
        {"request": {"id": "31337"}},
        {"request": {"id": True}},
        {"request": {"id": -1}},
        {"request": {"id": 2**70}},
        {"request": {"id": 1.5}},
        {"request": [31337]},
        [],
        "<html>",
        '{"request": {"id": 313',
        None,
    ],
)
def test_a_202_without_the_id_of_a_request_is_in_doubt(body):
    with pytest.raises(InDoubt, match="202 without the id"):
        receipt(Answer(202, body))


@pytest.mark.parametrize("repository", [None, [], {"id": "x"}, {"id": 0, "slug": 5}])
def test_an_odd_repository_in_the_answer_does_no_harm(repository):
    request = receipt(Answer(202, {**ACCEPTED, "repository": repository}))
    assert request.id == "31337"
    assert "repo" not in request.handle
    assert len(request.url) < 500


OTHER = {**REPOSITORY, "id": 4712, "slug": "acme/gadget"}
OURS = {**ACCEPTED["request"], "message": f"nightly {MARKER}"}


@pytest.mark.parametrize(
    "changed",
    [
        {"repository": OTHER},
        {"repository": {**REPOSITORY, "slug": "s" * 10_000}},
        {"request": {**OURS, "branch": "release"}},
        {"request": {**OURS, "message": "nightly [01JX8.zzzzzzzz]"}},
        {"request": {**OURS, "message": None}},
        {"request": ACCEPTED["request"]},
        {"request": {**OURS, "message": "nightly"}, "repository": OTHER},
    ],
)
def test_a_receipt_is_believed_only_when_what_it_echoes_is_what_was_asked(changed):
    hung_up = []
    mine = {**ACCEPTED, "request": OURS}
    assert wire.read_receipt(trigger(marker=MARKER), Answer(202, mine), API_COM).id == "31337"
    answer = Answer(202, {**mine, **changed}, hang_up=lambda: hung_up.append(True))
    with pytest.raises(InDoubt, match="an answer to another question"):
        wire.read_receipt(trigger(marker=MARKER), answer, API_COM)
    assert hung_up == [True]


def test_a_receipt_without_a_marker_is_known_by_its_repository_and_branch():
    assert receipt(Answer(202, ACCEPTED)).id == "31337"
    for other in ({"repository": OTHER}, {"request": {"id": 7, "branch": "release"}}):
        with pytest.raises(InDoubt, match="an answer to another question"):
            receipt(Answer(202, {**ACCEPTED, **other}))
    with pytest.raises(InDoubt, match="an answer to another question"):
        receipt(Answer(202, {"request": {"id": 7}}))


def error(kind, **more):
    return {"@type": "error", "error_type": kind, "error_message": "what Travis says", **more}


LIMIT = error("request_limit_reached", max_requests=10, per_seconds=3600, repository=REPOSITORY)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            Answer(404, error("not_found", resource_type="repository")),
            "not_found",
            "not on Travis, or this token may not",
        ),
        (Answer(404, error("not_found", resource_type="request")), "not_found", "read-only"),
        (Answer(404, error("not_found")), "not_found", "%2F"),
        (Answer(403, error("insufficient_access", permission="create_request")), "insufficient_access", "write access"),
        (Answer(403, error("repo_migrated")), "repo_migrated", "travis-ci.com"),
        (Answer(403, error("private_repo_feature")), "private_repo_feature", "HTTP 403"),
        (Answer(403, error("error")), "http_403", "what Travis says"),
        (Answer(406, error("repository_inactive")), "repository_inactive", "switched off"),
        (Answer(400, error("wrong_params")), "wrong_params", "HTTP 400"),
        (Answer(400, {"error": "Failed to parse body as JSON"}), "http_400", "Failed to parse"),
        (Answer(400, "missing User-Agent"), "http_400", "missing User-Agent"),
        (Answer(405, error("method_not_allowed")), "method_not_allowed", "HTTP 405"),
        (Answer(409, error("duplicate_resource")), "duplicate_resource", "HTTP 409"),
        (Answer(413, "<html>too large</html>"), "http_413", "something before Travis refuses this trigger"),
        (Answer(403, "<html>Attention Required!</html>"), "http_403", "HTTP 403: it answers with a web page"),
        (Answer(403, "Forbidden by policy 7"), "http_403", "'Forbidden by policy 7'"),
        (Answer(403, "Access Denied: reference 18.2"), "http_403", "reference 18.2"),
        (Answer(403, {"message": "Forbidden"}), "http_403", "HTTP 403: Forbidden"),
        (Answer(404, {"file": "not found"}), "http_404", "JSON of another kind"),
        (Answer(404, "<!DOCTYPE html><html>"), "http_404", "a web page"),
        (Answer(405, "nginx"), "http_405", "'nginx'"),
        (Answer(422, error("unprocessable_entity")), "unprocessable_entity", "HTTP 422"),
    ],
)
def test_a_refusal_of_one_target_ends_it_with_travis_word_and_a_reason(answer, code, words):
    with pytest.raises(Rejected) as caught:
        receipt(answer)
    assert caught.value.code == code
    assert words in caught.value.reason
    assert "acme/widget" not in caught.value.reason  # reports group targets by reason


@pytest.mark.parametrize(
    ("answer", "code", "retry_after"),
    [
        (Answer(403, "access denied"), "bad_token", None),
        (Answer(403, " Access denied\n"), "bad_token", None),
        (Answer(403, error("wrong_credentials")), "bad_token", None),
        (Answer(403, error("login_required")), "bad_token", None),
        (Answer(401, "please log in"), "bad_token", None),
        (Answer(403, "Forbidden\n"), "banned", 3600.0),
    ],
)
def test_a_refusal_of_everybody_stops_the_account(answer, code, retry_after):
    with pytest.raises(AccessRefused) as caught:
        receipt(answer)
    assert (caught.value.code, caught.value.scope, caught.value.retry_after) == (code, "account", retry_after)


def test_the_hourly_limit_freezes_the_repository_and_teaches_the_limit():
    with pytest.raises(RateLimited) as caught:
        receipt(Answer(429, LIMIT))
    assert caught.value.scope == "repo:acme/widget"
    assert caught.value.retry_after is None
    assert caught.value.learnt == (Learnt("triggers_per_repo", Scope.of("repo:acme/widget"), 10, 3600.0, 0),)


@pytest.mark.parametrize(
    ("headers", "patience"),
    [
        ({"date": "Mon, 05 Jan 2026 01:00:48 GMT"}, 13.0),
        ({"date": "Mon, 05 Jan 2026 01:00:00 GMT"}, 61.0),
        ({"date": "Mon, 05 Jan 2026 01:00:48 GMT", "retry-after": "7"}, 7.0),
        ({"date": "yesterday"}, 60.0),
        ({"retry-after": "-5"}, 60.0),
        ({"retry-after": "9" * 30}, 60.0),
        ({}, 60.0),
    ],
)
@pytest.mark.parametrize("body", ["Retry later\n", {}, error("too_many")])
def test_the_throttle_pauses_the_account_to_the_servers_next_minute(headers, patience, body):
    with pytest.raises(RateLimited) as caught:
        receipt(Answer(429, body, headers))
    assert (caught.value.scope, caught.value.retry_after) == ("account", patience)


def test_patience_is_read_on_every_refusal_that_may_carry_it():
    for answer, scope, least in (
        (Answer(429, LIMIT, {"retry-after": "900"}), "repo:acme/widget", 900.0),
        (Answer(403, "<html>too fast</html>", {"retry-after": "30"}), "account", 30.0),
        (Answer(403, "<html>too fast</html>", {"retry-after": "0"}), "account", 0.0),
    ):
        with pytest.raises(RateLimited) as caught:
            receipt(answer)
        assert (caught.value.scope, caught.value.retry_after) == (scope, least)
    for told, least in (("0", 3600.0), ("7200", 7200.0)):
        with pytest.raises(AccessRefused) as banned:
            receipt(Answer(403, "Forbidden\n", {"retry-after": told}))
        assert banned.value.retry_after == least


@pytest.mark.parametrize("status", [200, 201, 204, 408, 425, 499, 500, 501, 502, 503, 504, 599])
@pytest.mark.parametrize("body", ["<html>oops</html>", error("server_error"), {}, ""])
def test_any_other_answer_leaves_the_trigger_in_doubt(status, body):
    with pytest.raises(InDoubt):
        receipt(Answer(status, body))


@pytest.mark.parametrize("status", range(400, 500))
def test_no_status_and_no_body_goes_unsorted(status):
    for body in (
        None,
        "",
        [],
        {},
        7,
        {"error_type": 7, "error_message": {}},
        {"error_type": "x" * 10_000},
        error("not_found"),
    ):
        with pytest.raises((NotTriggered, InDoubt)) as caught:
            receipt(Answer(status, body))
        assert len(str(caught.value)) < 1000


def test_a_refusal_of_a_call_with_a_secret_repeats_none_of_the_servers_words():
    echo = error("wrong_params", error_message="token s3cr3t is odd")
    for body in (echo, "token s3cr3t is odd"):
        with pytest.raises(Rejected) as caught:
            receipt(Answer(400, body), target(request_token="env:HOOK"))
        assert "s3cr3t" not in str(caught.value)


# -- words -----------------------------------------------------------------------------------------------------------


def test_a_servers_text_is_shown_on_one_line_and_cut():
    assert answers.quoted("a\n\x1b[31m b\t\u202ec") == "a [31m b c"
    assert answers.quoted("x" * 5000) == "x" * 299 + "…"
    assert answers.quoted(None) == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("2026-01-05T01:02:10Z", 1767574930.0),
        ("2026-01-05T01:02:10.250Z", 1767574930.25),
        ("2026-01-05T02:02:10+01:00", 1767574930.0),
        ("2026-01-05T01:02:10", None),
        ("2026-01-05", None),
        ("2026-13-05T01:02:10Z", None),
        ("x" * 20, None),
        (1767574930, None),
        (None, None),
    ],
)
def test_an_instant_is_read_strictly(text, seconds):
    assert answers.instant(text) == seconds


def test_an_instant_is_written_in_whole_seconds_rounded_down():
    assert answers.timestamp(1767574930.9) == "2026-01-05T01:02:10Z"


@pytest.mark.parametrize(
    ("text", "code", "scope"),
    [
        ("Could not authorize build request for acme/widget.", "no_credit", "owner:acme"),
        ("abuse detected: crypto mining", "abuse", "owner:acme"),
        ("Job rejected. Abuse detected.", "abuse", "owner:acme"),
        ("Build skipped via commit message", "skipped_by_message", None),
        ("Branch excluded per configuration", "branch_excluded", None),
        ("Branch not included per configuration", "branch_excluded", None),
        ("Build type disabled via repository settings", "build_type_disabled", None),
        ("Build config did not create any jobs.", "no_jobs", None),
        ("matrix created no jobs", "no_jobs", None),
        ("GitHub payload is missing a merge commit", "missing_merge_commit", None),
        ("missing commit", "missing_commit", None),
        ("config is missing or contains YAML syntax error", "config_error", None),
        ("github pages branch", "github_pages_branch", None),
        ("private repository", "private_repository", None),
        ("excluded repository", "excluded_repository", None),
        ("The build matrix has more than 200 jobs", "too_many_jobs", None),
        ("something new", "request_rejected", None),
        (None, "request_rejected", None),
    ],
)
def test_a_rejected_request_says_why_and_whom_it_concerns(text, code, scope):
    refusal = observe.refusal_of(text, "acme")
    assert (refusal.code, refusal.scope) == (code, scope)
    assert refusal.reason == text or "gave no reason" in refusal.reason


@pytest.mark.parametrize(
    ("url", "web"),
    [
        ("https://api.travis-ci.com", "https://app.travis-ci.com"),
        ("https://API.travis-ci.com/", "https://app.travis-ci.com"),
        ("https://api.travis-ci.org", "https://travis-ci.org"),
        ("https://travis.corp.example/api", "https://travis.corp.example"),
        ("https://ci.corp.example/travis/api/", "https://ci.corp.example/travis"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_people_look_where_the_web_pages_are(url, web):
    assert wire.web_base(url) == web


def test_pages_name_where_the_repository_lives_except_on_org():
    assert wire.page(API_COM, "acme/widget", target(vcs="gitlab")) == "https://app.travis-ci.com/gitlab/acme/widget"
    assert wire.page("https://api.travis-ci.org", "acme/widget", target()) == "https://travis-ci.org/acme/widget"
