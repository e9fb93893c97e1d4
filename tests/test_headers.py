"""What each provider's headers tell, in the forms in which they really come, and what liars gain."""

import math
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.calls import Answer, Call
from orchestrator.core.model import ACCOUNT, Learnt
from orchestrator.limits.headers import (
    LONGEST_WAIT,
    MOST_CALLS,
    HeaderFamily,
    instant,
    learn_from,
    number,
    read_limits,
    reset_after,
    retry_after,
)

NOW = 1_767_571_200.0
DATE = {"date": formatdate(NOW, usegmt=True)}
PLAIN = HeaderFamily("calls", "ratelimit", per=60.0)
HUB = HeaderFamily("calls", "x-ratelimit", per=3600.0, only=("x-ratelimit-resource", "core"))


def read(families, headers, repo=None):
    return read_limits([families] if isinstance(families, HeaderFamily) else families, DATE | headers, repo)


def test_github_tells_its_hour_and_when_it_starts_anew_in_seconds_of_the_epoch():
    headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4987", "x-ratelimit-resource": "core"}
    headers["x-ratelimit-reset"] = str(int(NOW) + 600)
    assert read(HUB, headers) == [Learnt("calls", ACCOUNT, 5000, 3600.0, 4987, 601.0)]


def test_headers_of_another_bucket_tell_nothing_of_this_one():
    assert read(HUB, {"x-ratelimit-limit": "30", "x-ratelimit-remaining": "0", "x-ratelimit-resource": "search"}) == []


def test_gitlab_tells_its_minute_with_an_instant_and_a_date():
    headers = {"ratelimit-limit": "2000", "ratelimit-observed": "5", "ratelimit-remaining": "1995"}
    instant_of_reset = {"ratelimit-reset": str(int(NOW) + 20)}
    date_of_reset = {"ratelimit-resettime": formatdate(NOW + 20, usegmt=True)}
    expected = [Learnt("calls", ACCOUNT, 2000, 60.0, 1995, 21.0)]
    assert read(PLAIN, headers | instant_of_reset) == expected
    assert read(PLAIN, headers | date_of_reset) == expected
    assert read(PLAIN, headers | instant_of_reset | date_of_reset) == expected


def test_buildkite_tells_of_the_organisation_and_of_the_user_with_seconds():
    families = [HeaderFamily("calls", "ratelimit", per=60.0), HeaderFamily("calls_of_user", "ratelimit-user", per=60.0)]
    headers = {
        "ratelimit-scope": "rest",
        "ratelimit-limit": "200",
        "ratelimit-remaining": "112",
        "ratelimit-reset": "7",
    }
    headers |= {"ratelimit-user-limit": "50", "ratelimit-user-remaining": "0", "ratelimit-user-reset": "29"}
    assert read(families, headers) == [
        Learnt("calls", ACCOUNT, 200, 60.0, 112, 8.0),
        Learnt("calls_of_user", ACCOUNT, 50, 60.0, 0, 30.0),
    ]


def test_circleci_tells_a_limit_for_each_period_by_the_end_of_the_name():
    families = [
        HeaderFamily("calls", "x-ratelimit", "-second", 1.0),
        HeaderFamily("calls", "x-ratelimit", "-minute", 60.0),
    ]
    headers = {"x-ratelimit-limit-second": "10", "x-ratelimit-remaining-second": "9", "x-ratelimit-limit-minute": "300"}
    headers |= {"x-ratelimit-remaining-minute": "250", "x-ratelimit-reset": "12"}
    assert read(families, headers) == [
        Learnt("calls", ACCOUNT, 10, 1.0, 9, 13.0),
        Learnt("calls", ACCOUNT, 300, 60.0, 250, 13.0),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {
            "ratelimit-policy": "100;w=30",
            "ratelimit-limit": "100",
            "ratelimit-remaining": "50",
            "ratelimit-reset": "12",
        },
        {"ratelimit-limit": "100, 100;w=30", "ratelimit-policy": "100;w=30", "ratelimit-remaining": "50"}
        | {"ratelimit-reset": "12"},
        {"ratelimit-policy": "100;w=30", "ratelimit": "limit=100, remaining=50, reset=12"},
        {"ratelimit-policy": '"default";q=100;w=30', "ratelimit": '"default";r=50;t=12'},
    ],
    ids=["older draft", "limit with its policy", "all in one", "structured"],
)
def test_every_draft_of_the_common_headers_tells_the_same(headers):
    assert read(PLAIN, headers) == [Learnt("calls", ACCOUNT, 100, 30.0, 50, 13.0)]


def test_several_policies_are_several_rules_and_the_rest_is_of_the_one_that_is_named():
    headers = {"ratelimit-policy": '"burst";q=100;w=60, "daily";q=5000;w=86400', "ratelimit": '"daily";r=7;t=40'}
    assert read(PLAIN, headers) == [
        Learnt("calls", ACCOUNT, 5000, 86400.0, 7, 41.0),
        Learnt("calls", ACCOUNT, 100, 60.0),
    ]
    older = {"ratelimit-policy": "100;w=60, 5000;w=86400", "ratelimit-limit": "5000", "ratelimit-remaining": "7"}
    assert read(PLAIN, older)[0] == Learnt("calls", ACCOUNT, 5000, 86400.0, 7)


def test_one_policy_can_be_chosen_by_its_name():
    headers = {"ratelimit-policy": '"burst";q=100;w=60, "daily";q=5000;w=86400', "ratelimit": '"burst";r=7;t=40'}
    chosen = HeaderFamily("calls", policy="daily")
    assert read(chosen, headers) == [Learnt("calls", ACCOUNT, 5000, 86400.0)]


def test_a_quota_in_bytes_is_no_limit_of_calls():
    assert read(PLAIN, {"ratelimit-policy": '"size";q=65535;qu="content-bytes";w=10'}) == []


def test_a_limit_without_any_period_tells_only_what_is_left():
    headers = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "3"}
    assert read(HeaderFamily("calls", "x-ratelimit"), headers) == [Learnt("calls", ACCOUNT, left=3)]


@pytest.mark.parametrize(("scope", "expected"), [("repo", "repo:acme/a"), ("owner", "owner:acme")])
def test_a_limit_of_a_repository_or_owner_is_learnt_for_the_one_that_was_called(scope, expected):
    families = HeaderFamily("calls", per=60.0, scope=scope)
    assert read(families, {"ratelimit-limit": "5"}, "acme/a")[0].scope == expected
    assert read(families, {"ratelimit-limit": "5"}) == []


@pytest.mark.parametrize(("fold_case", "expected"), [(True, "repo:acme/a"), (False, "repo:ACME/a")])
def test_a_repository_is_learnt_under_the_name_by_which_it_is_counted(fold_case, expected):
    learn = learn_from(HeaderFamily("calls", per=60.0, scope="repo"), fold_case=fold_case)
    answer = Answer(200, {}, {"ratelimit-limit": "5", "retry-after": "7"})
    assert {learnt.scope for learnt in learn(Call("GET", "/", repo="ACME/a"), answer)} == {expected}


def test_patience_comes_in_seconds_and_as_a_date():
    assert retry_after({"retry-after": "120"}) == 120.0
    assert retry_after({"retry-after": "0.5"}) == 0.5
    assert retry_after(DATE | {"retry-after": formatdate(NOW + 90, usegmt=True)}) == 90.0
    assert retry_after(DATE | {"retry-after": str(int(NOW) + 90)}) == 90.0
    assert retry_after({}) is None
    assert retry_after({"retry-after": "soon"}) is None


@pytest.mark.parametrize(
    "form", ["Mon, 05 Jan 2026 00:01:30 GMT", "Monday, 05-Jan-26 00:01:30 GMT", "Mon Jan  5 00:01:30 2026"]
)
def test_all_three_forms_of_an_http_date_are_read(form):
    assert instant(form) == NOW + 90


def test_patience_that_is_asked_for_with_a_good_answer_empties_the_limit_until_then():
    learn = learn_from(HeaderFamily("calls", "x-ratelimit", per=300.0))
    call = Call("GET", "/builds")
    assert learn(call, Answer(200, {}, {"retry-after": "30"})) == [Learnt("calls", ACCOUNT, left=0, reset=30.0)]
    assert learn(call, Answer(429, {}, {"retry-after": "30"})) == []
    assert learn(call, Answer(200, {}, {})) == []


def test_a_reset_is_told_apart_by_its_size():
    assert reset_after("30", {}) == 31.0
    assert reset_after(f"{int(NOW) + 30}", DATE) == 31.0
    assert reset_after(f"{int(NOW) + 30}500", DATE) == 31.5
    assert reset_after(formatdate(NOW + 30, usegmt=True), DATE) == 31.0
    assert reset_after(f"{int(NOW) + 30}", {}) is None


@pytest.mark.parametrize(
    "lie",
    [
        "-1",
        "-9999999999",
        "NaN",
        "nan",
        "inf",
        "1e9",
        "9" * 10_000,
        "",
        " ",
        "0x10",
        "١٢",
        "1_000",
        "1.2.3",
        "+5",
        "null",
        "\x00",
    ],
)
def test_what_is_no_number_is_as_if_it_were_not_there(lie):
    assert number(lie) is None
    assert retry_after(DATE | {"retry-after": lie}) is None
    headers = {"ratelimit-limit": lie, "ratelimit-remaining": lie, "ratelimit-reset": lie, "ratelimit-policy": lie}
    assert read(PLAIN, headers) == []


def test_huge_values_are_bounded_and_resets_of_the_past_are_now():
    huge = {"ratelimit-limit": "99999999999", "ratelimit-remaining": "99999999999", "ratelimit-reset": "99999999"}
    assert read(PLAIN, huge) == [Learnt("calls", ACCOUNT, MOST_CALLS, 60.0, MOST_CALLS, LONGEST_WAIT)]
    assert reset_after(str(int(NOW) + 10**8), DATE) == LONGEST_WAIT
    assert reset_after(str(int(NOW) - 500), DATE) == 1.0
    assert retry_after({"retry-after": "99999999"}) == LONGEST_WAIT
    assert retry_after(DATE | {"retry-after": formatdate(0, usegmt=True)}) == 0.0


def test_more_left_than_there_is_is_the_whole_limit():
    assert read(PLAIN, {"ratelimit-limit": "5", "ratelimit-remaining": "500"})[0].left == 5


def test_a_limit_of_nothing_is_not_believed():
    assert read(PLAIN, {"ratelimit-limit": "0", "ratelimit-policy": "0;w=60, 5;w=0"}) == []


TEXT = st.one_of(
    st.text(max_size=60),
    st.from_regex(r'[-+]?[0-9]{0,30}(\.[0-9]*)?(;[wqrt]=[0-9"]{0,12}){0,3}', fullmatch=True),
    st.sampled_from(["limit=1", '"a";q=1;w=1', "Mon, 99 Jan 0000 99:99:99 GMT", "1,2,3", ";;;", '"', ",", "=" * 50]),
)


NAMES = ("", "-policy", "-limit", "-remaining", "-reset", "-resettime")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["date", "retry-after", *(f"ratelimit{name}" for name in NAMES)]), TEXT))
def test_whatever_a_server_sends_is_bounded(headers):
    for learnt in learn_from(PLAIN)(Call("GET", "/"), Answer(200, None, headers)):
        assert learnt.calls is None or 1 <= learnt.calls <= MOST_CALLS
        assert (learnt.calls is None) == (learnt.per is None)
        assert learnt.per is None or 0.0 < learnt.per < math.inf
        assert learnt.left is None or 0 <= learnt.left <= MOST_CALLS
        assert learnt.reset is None or 0.0 <= learnt.reset <= LONGEST_WAIT
        assert learnt.calls is not None or learnt.left is not None
