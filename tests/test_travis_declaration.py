from typing import Any

import pytest
from pydantic import ConfigDict, ValidationError, create_model

from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import Account, BuildState, Learnt, Scope, Target
from orchestrator.providers.travis import declaration
from orchestrator.providers.travis.declaration import DECLARATION, KEYS

POST = Call("POST", "/repo/acme%2Fwidget/requests", purpose="trigger", repo="Acme/widget")
KEYS_MODEL: Any = create_model(
    "Keys", __config__=ConfigDict(extra="forbid", strict=True), **{name: (key.type, None) for name, key in KEYS.items()}
)

WIDGET = Scope("repo", "acme/widget")


def target(**request):
    return Target("travis:acme/widget@main", "travis", "acme/widget", "main", request=request)


def test_the_default_limits_are_those_that_travis_bears():
    assert [str(limit) for limit in DECLARATION.limits] == [
        "triggers 40/30s",
        "calls 1800/1m",
        "triggers_per_repo 10/1h",
    ]
    assert [limit.scope for limit in DECLARATION.limits] == ["account", "account", "repo"]
    assert DECLARATION.accepted_limits == {"triggers_per_repo"}
    assert DECLARATION.settle == 60.0


def test_every_state_of_a_build_has_its_meaning():
    final = {state for state, meaning in DECLARATION.states.items() if meaning.is_final}
    assert final == {"passed", "failed", "errored", "canceled"}
    assert DECLARATION.states["canceled"] is BuildState.CANCELED  # that another build replaced it, Travis does not say
    assert {DECLARATION.states[state] for state in ("created", "queued", "received")} == {BuildState.QUEUED}


@pytest.mark.parametrize(
    "message",
    [
        "[skip ci]",
        "[ci skip]",
        "fix [CI SKIP] it",
        "[skip travis]",
        "[travis-ci skip]",
        "[skip travis ci]",
        "[ci:skip]",
    ],
)
def test_a_skip_command_anywhere_in_the_message_is_a_problem(message):
    said = declaration.message_problem(f"nightly {message}")
    assert said is not None
    assert "skip command" in said
    assert "reword" in said


@pytest.mark.parametrize("message", ["skip ci", "[skipci]", "nightly [ci-2026.abcdefgh]", "[skip the rest]", ""])
def test_what_is_no_skip_command_is_no_problem(message):
    assert declaration.message_problem(message) is None


@pytest.mark.parametrize(
    "values",
    [
        {"merge_mode": "deep-merge"},
        {"config": "script: make"},
        {"config": {"script": ["make"]}},
        {"configs": [{"config": {"a": 1}, "mode": "merge"}, {"config": "a: 1", "merge_mode": "replace"}]},
        {"vcs": "gitlab", "sha": "0f3c", "tag_name": "v1", "request_token": "env:X"},
    ],
)
def test_what_a_request_may_say_is_accepted(values):
    KEYS_MODEL.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"merge_mode": "deep_merge_apend"},
        {"config": 3},
        {"configs": [{"config": {}, "mdoe": "merge"}]},
        {"configs": [{"mode": "merge"}]},
        {"configs": {"config": {}}},
        {"vcs": "svn"},
        {"sha": 12345},
    ],
)
def test_what_travis_would_only_refuse_later_is_refused_at_once(values):
    with pytest.raises(ValidationError):
        KEYS_MODEL.model_validate(values)


def test_only_the_token_is_a_reference():
    assert [name for name, key in KEYS.items() if key.reference] == ["request_token"]


@pytest.mark.parametrize(
    "request_", [{"config": {"script": "make"}}, {"config": "script: make"}, {"env": {"A": "1"}}, {"config": {}}]
)
def test_config_without_a_merge_mode_names_what_the_server_may_do(request_):
    [said] = [text for text in DECLARATION.warn(target(**request_)) if "merge_mode" in text]
    for mode in ("deep_merge_append", "deep_merge ", "(merge)"):
        assert mode in said


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"config": {"script": "make"}, "merge_mode": "merge"},
        {"config": {"script": "make", "merge_mode": "merge"}},
        {"configs": [{"config": {}}]},
        {"env": {}},
    ],
)
def test_a_merge_mode_anywhere_needs_no_warning(request_):
    assert not [text for text in DECLARATION.warn(target(**request_)) if "without `merge_mode`" in text]


@pytest.mark.parametrize("key", ["matrix", "jobs"])
def test_a_matrix_in_the_config_multiplies_jobs(key):
    said = DECLARATION.warn(target(config={"env": {key: ["A=1"]}}, merge_mode="merge"))
    assert any(f"`config.env.{key}` multiplies jobs" in text for text in said)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"env": ["A=1", "A=2"]}, "env"),
        ({"env": [{"A": 1}, {"A": 2}]}, "env"),
        ({"env": {"matrix": "A=1"}}, "env.matrix"),
        ({"jobs": {"include": [{"stage": "x"}]}}, "jobs.include"),
        ({"matrix": {"include": {"stage": "x"}}}, "matrix.include"),
        ({"jobs": [{"stage": "x"}]}, "jobs"),
        *(
            ({key: ["x", "y"]}, key)
            for key in ("os", "dist", "arch", "python", "rvm", "node_js", "compiler", "go", "jdk")
        ),
    ],
)
def test_every_form_that_multiplies_jobs_is_told(config, key):
    for given in ({"config": config}, {"configs": [{"config": config}]}):
        said = DECLARATION.warn(target(**given, merge_mode="merge"))
        assert any(text.startswith(f"`config.{key}` multiplies jobs") for text in said)


@pytest.mark.parametrize(
    "config",
    [{"env": ["A=1"]}, {"env": {"global": ["A=1", "B=2"]}}, {"script": ["a", "b"]}, {"os": ["linux"]}, {"jobs": {}}],
)
def test_what_makes_no_more_jobs_is_not_told(config):
    assert not any("multiplies" in text for text in DECLARATION.warn(target(config=config, merge_mode="merge")))


def test_builds_that_deploy_and_mail_are_warned_of_until_both_were_thought_of():
    assert declaration.LIKE_PUSHES in DECLARATION.warn(target())
    thought_of = {"notifications": {"email": False}, "deploy": []}
    assert declaration.LIKE_PUSHES not in DECLARATION.warn(target(config=thought_of, merge_mode="merge"))


def test_configs_beside_config_are_told_apart():
    both = target(config={}, configs=[], merge_mode="merge")
    assert declaration.BOTH_CONFIGS in DECLARATION.warn(both)


def test_the_end_of_travis_ci_org_is_told():
    assert "shut down" in DECLARATION.warn_account(Account("t", "travis", "https://api.travis-ci.org"))[0]
    assert DECLARATION.warn_account(Account("t", "travis", DECLARATION.url)) == []


def test_remaining_requests_counts_before_the_new_row():
    answer = Answer(202, {"remaining_requests": 10})
    assert DECLARATION.learn(POST, answer) == (Learnt("triggers_per_repo", WIDGET, left=9),)
    assert DECLARATION.learn(POST, Answer(202, {"remaining_requests": 1}))[0].left == 0


def test_the_refusal_of_the_hourly_limit_teaches_it():
    answer = Answer(429, {"error_type": "request_limit_reached", "max_requests": 50, "per_seconds": 3600})
    assert DECLARATION.learn(POST, answer) == (Learnt("triggers_per_repo", WIDGET, 50, 3600.0, 0),)


@pytest.mark.parametrize("odd", [True, -1, "10", 1.5, None, 10**12, [], float("nan")])
def test_numbers_of_another_kind_teach_nothing(odd):
    assert DECLARATION.learn(POST, Answer(202, {"remaining_requests": odd})) == ()
    learnt = DECLARATION.learn(POST, Answer(429, {"max_requests": odd, "per_seconds": 3600}))
    assert learnt == (Learnt("triggers_per_repo", WIDGET, left=0),)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (Call("GET", "/user"), Answer(202, {"remaining_requests": 10})),
        (POST, Answer(202, "text")),
        (POST, Answer(429, "Retry later")),
        (POST, Answer(500, {"remaining_requests": 10})),
    ],
)
def test_other_answers_teach_nothing(call, answer):
    assert DECLARATION.learn(call, answer) == ()
