"""The log as an attacker sees it: no secret leaves, whichever way it comes in."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from orchestrator.cli.live import Plain
from orchestrator.cli.log import Follower, Log
from orchestrator.core.events import CANCELED, Doubted, Frozen, RestartAsked, Stopped
from orchestrator.core.model import ACCOUNT, Scope
from orchestrator.core.secrets import DEEPEST, Redactor
from orchestrator.journal.port import Entry

TOKEN = "tr4vis+/S3cr3t==%&"
SHORT = "k3y"


class Odd:
    """Tells the token by str and by repr."""

    def __str__(self):
        return f"Odd({TOKEN})"

    __repr__ = __str__


class Broken:
    def __str__(self):
        raise RuntimeError(TOKEN)


def logged(fields, *, shape="console", secrets=(TOKEN,), verbosity=2, event="call.sent", level="info", **more):
    redactor, lines = Redactor(), []
    for secret in secrets:
        redactor.add(secret)
    log = Log(lines.append, redactor, verbosity=verbosity, format=shape, now=lambda: 0.0, **more)
    getattr(log, level)(event, **fields)
    return "\n".join(lines)


def nested(levels, value):
    for _ in range(levels):
        value = {"in": [value]}
    return value


ATTACKS = {
    "value": {"x": TOKEN},
    "inside a text": {"x": f"before{TOKEN}after"},
    "key": {TOKEN: 1},
    "nested key": {"x": {TOKEN: 1}},
    "bytes": {"x": TOKEN.encode()},
    "list": {"x": [TOKEN, (TOKEN,), {TOKEN}, frozenset([TOKEN])]},
    "deep": {"x": nested(DEEPEST + 5, TOKEN)},
    "repr of an object": {"x": Odd()},
    "repr inside a container": {"x": [{"y": Odd()}]},
    "url query": {"url": f"https://h/p?token={quote(TOKEN, safe='')}&x=1"},
    "url path": {"url": f"https://h/{quote_plus(TOKEN)}"},
    "url user": {"url": f"https://x:{TOKEN}@h/"},
    "header": {"headers": {"Authorization": f"token {TOKEN}"}},
    "raw headers": {"headers": [(b"Authorization", f"token {TOKEN}".encode())]},
    "body": {"body": json.dumps({"request": {"token": TOKEN}})},
    "repr of bytes": {"x": repr(TOKEN.encode())},
    "base64": {"x": base64.b64encode(f"user:{TOKEN}".encode()).decode()},
    "hex": {"x": TOKEN.encode().hex()},
    "exception as value": {"x": ValueError(f"bad token {TOKEN}")},
}


@pytest.mark.parametrize("shape", ["console", "json"])
@pytest.mark.parametrize("fields", ATTACKS.values(), ids=ATTACKS)
def test_a_known_token_never_leaves(fields, shape):
    line = logged(fields, shape=shape)
    for spelling in (TOKEN, quote(TOKEN, safe=""), quote(TOKEN), TOKEN.encode().hex(), "dHI0dmlzKy9TM2Nyc", "UzNjcjN0"):
        assert spelling not in line
    assert "call.sent" in line


def test_the_event_itself_is_redacted():
    assert TOKEN not in logged({}, event=f"sent {TOKEN}")


@pytest.mark.parametrize("shape", ["console", "json"])
def test_a_traceback_is_redacted_and_shows_no_locals(shape):
    redactor, lines = Redactor(), []
    redactor.add(TOKEN)
    log = Log(lines.append, redactor, format=shape, now=lambda: 0.0)
    hidden = "a local value that nobody asked for"
    try:
        try:
            raise ValueError(f"cause {TOKEN}")
        except ValueError as error:
            raise RuntimeError(f"header Authorization: token {TOKEN}") from error
    except RuntimeError:
        log.error("bug", exc_info=True)
    text = "\n".join(lines)
    assert TOKEN not in text
    assert hidden not in text
    assert "RuntimeError" in text
    assert "ValueError" in text


def test_an_object_that_cannot_be_written_costs_nobody_the_line():
    line = logged({"x": Broken(), "y": 1})
    assert TOKEN not in line
    assert "y=1" in line


UNKNOWN = {
    "authorization header": {"x": "Authorization: token abc123def456"},
    "bearer": {"x": "sent Bearer abc123def456ghi"},
    "repr of headers": {"x": "{'Authorization': 'token abc123def456', 'Accept': '*/*'}"},
    "repr of raw headers": {"x": "((b'Authorization', b'token abc123def456'),)"},
    "json in json": {"x": json.dumps(json.dumps({"Authorization": "token abc123def456"}))},
    "private token": {"x": "PRIVATE-TOKEN: abc123def456"},
    "query": {"x": "https://h/p?access_token=abc123def456#x"},
    "user info": {"x": "https://user:abc123def456@host/path"},
    "key named token": {"token": "abc123def456"},
    "nested key": {"x": {"request": {"token": "abc123def456"}}},
    "key with a prefix": {"travis_token": "abc123def456", "X-Api-Key": "abc123def456"},
    "cookie": {"Set-Cookie": "s=abc123def456"},
    "list below a secret key": {"password": ["abc123def456"]},
}


@pytest.mark.parametrize("shape", ["console", "json"])
@pytest.mark.parametrize("fields", UNKNOWN.values(), ids=UNKNOWN)
def test_what_looks_like_credentials_is_blotted_out_although_nobody_knows_it(fields, shape):
    assert "abc123def456" not in logged(fields, shape=shape, secrets=())


def test_ordinary_words_stay_readable():
    fields = {
        "cause": "the token travelled nowhere; basic authentication is off",
        "token": "env:TRAVIS_TOKEN",
        "url": "https://app.travis-ci.com/github/acme/x/builds/12345?utm=1",
        "author": "somebody",
    }
    line = logged(fields)
    assert "***" not in line
    assert "the token travelled nowhere" in line


def test_a_short_secret_is_only_taken_out_where_it_stands_alone():
    line = logged({"x": f"the {SHORT} of k3yboard"}, secrets=(SHORT,))
    assert "the *** of k3yboard" in line


def test_a_secret_that_is_learnt_later_is_redacted_from_then_on():
    redactor, lines = Redactor(), []
    log = Log(lines.append, redactor, verbosity=1, now=lambda: 0.0)
    redactor.add(TOKEN)
    log.info("account.known", account=TOKEN)
    assert TOKEN not in lines[0]
    assert "account=***" in lines[0]


def test_json_lines_hold_the_fact_its_level_and_its_pairs():
    line = json.loads(logged({"target": "travis:acme/x@main", "left": 3}, shape="json"))
    wanted = {"at": "1970-01-01T00:00:00Z", "level": "info", "event": "call.sent"}
    assert line == {**wanted, "target": "travis:acme/x@main", "left": 3}


def test_a_console_line_cannot_steer_the_terminal():
    line = logged({"target": "acme/x\x1b[2J\nforged line", "reason": "a\rb\x07"})
    assert len(line.splitlines()) == 1
    assert not {"\x1b", "\r", "\x07"} & set(line)


@pytest.mark.parametrize(
    ("verbosity", "seen"),
    [(-1, {"error"}), (0, {"error", "warning", "info"}), (1, {"error", "warning", "info", "debug"})],
)
def test_verbosity_decides_what_is_seen(verbosity, seen):
    levels = ("debug", "info", "warning", "error")
    assert {level for level in levels if logged({}, level=level, verbosity=verbosity)} == seen


def test_the_most_verbose_level_shows_every_call():
    assert "call.sent" in logged({}, level="debug", verbosity=2)


def followed(*events, verbosity=0):
    lines, clock = [], iter(range(100))
    log = Log(lines.append, Redactor(), verbosity=verbosity, now=lambda: 0.0)
    follower = Follower(log, None, lambda: float(next(clock)))
    for number, event in enumerate(events, 1):
        follower.fact(Entry("travis", number, 0.0, event))
    return lines


def test_a_freeze_that_every_call_under_way_meets_is_one_line_for_each_scope():
    frozen = [Frozen(scope, 60.0, "throttled") for scope in (ACCOUNT, ACCOUNT, Scope("repo", "acme/a"), ACCOUNT)]
    assert [line.split()[3:5] for line in followed(*frozen)] == [
        ["account=travis", f"scope={scope}"] for scope in ("account", "repo:acme/a")
    ]
    assert len(followed(*frozen, verbosity=1)) == 4


@pytest.mark.parametrize(("rule", "shown"), [(CANCELED, 0), ("max_fail", 1)])
def test_a_quiet_log_tells_of_a_stop_only_where_nobody_asked_for_it(rule, shown):
    assert len(followed(Stopped(rule, "why"), verbosity=-1)) == shown
    assert len(followed(Stopped(rule, "why"))) == 1


def test_a_lost_restart_is_told_with_what_settles_it():
    lines = []
    log = Log(lines.append, Redactor(), now=lambda: 0.0)
    follower = Follower(log, Plain(lines.append, lines.append), lambda: 0.0)
    for event in (RestartAsked("a", "5", 1), Doubted("a", 1, "reset", 1.0, 2.0)):
        follower.fact(Entry("travis", 1, 0.0, event))
    assert "its build shows whether it was started again" in lines[-1]
