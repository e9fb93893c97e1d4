"""What the end of a log says: the line, the signature that the same failure has elsewhere, and no secret."""

import time

import pytest

from orchestrator.core.causes import LAST_CHARACTERS, blotted, cause_in, signature
from orchestrator.core.secrets import Redactor

DONE = 'The command "make test" exited with 2.\r\n\r\nDone. Your build exited with 2.\r\n'


def cause(printed, at_most=64 * 1024, redact=str, repo="acme/widget"):
    return cause_in(printed, at_most, redact, repo)


@pytest.mark.parametrize(
    ("printed", "text", "code"),
    [
        ("tar: ./x-8f14.tar: Cannot write: No space left on device\ntar: Error is not recoverable: exiting\n" + DONE,
         "No space left on device", 2),
        ("tests/test_x.py:31: AssertionError\nE   assert 503 == 200\n=== 1 failed, 20 passed in 3.21s ===\n" + DONE,
         "E   assert 503 == 200", 2),
        ("npm ERR! code E404\nnpm ERR! 404 Not Found - GET https://r.example/x\nnpm ERR! A complete log of this run\n",
         "npm ERR! 404 Not Found - GET https://r.example/x", None),
        ("panic: index out of range [5]\n\ngoroutine 1 [running]:\nexit status 2\nmake: *** [run] Error 1\n",
         "panic: index out of range [5]", 1),
        ("src/a.c:12:5: error: 'x' undeclared\nmake[1]: *** [a.o] Error 1\nmake: *** [all] Error 2\n",
         "src/a.c:12:5: error: 'x' undeclared", 2),
        ("a\r\n10%\r50%\r100%\r\n\x1b[31mfatal: bad object\x1b[0m\r\n" + DONE, "fatal: bad object", 2),
        ("2026-01-05T01:02:03.4567890Z ##[error]boom: nothing works\n2026-01-05T01:02:03Z Cleaning up\n",
         "##[error]boom: nothing works", None),
        ("nothing that sounds bad\nand then silence\n", "last output: and then silence", None),
        ("Process completed with exit code 137.\n", "exited with 137, and the end of its log does not say why", 137),
        ("$ make test\n" + DONE, "exited with 2, and the end of its log does not say why", 2),
        ("##[group]Run make\n+ make -j\n> make\n", "it failed, and the end of its log does not say why", None),
    ],
)  # fmt: skip
def test_the_line_that_says_most_is_the_cause(printed, text, code):
    found = cause(printed)
    assert (found.text, found.exit) == (text, code)


@pytest.mark.parametrize("printed", ["", "\r\n \r\n", "\x1b[0m\n"])
def test_a_log_without_a_word_has_no_cause(printed):
    assert cause(printed) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("error at 2026-01-05 01:02:03.123 in job 77", "error at 2027-12-31T23:59:59Z in job 8"),
        ("fatal: bad object 8f14e45fceea167a5a36dedd4bea2543", "fatal: bad object c9f0f895fb98ab9159f51fd0297e236d"),
        ("/home/travis/build/acme/a/x.py:31: error: no", "/tmp/build-77/y/z.py:4: error: no"),
        ("cannot open './out/a1.txt'", "cannot open '../b/c2.txt'"),
        ("Error: 3 of 20 tests failed in 3.21s", "Error: 17 of 400 tests failed in 61s"),
        ("error in widget: no such key", "error in gadget: no such key"),
        ("GET https://r.example/a/b?c=1: HTTP 503", "GET https://r.example/zz: HTTP 503"),
        ("C:\\Users\\a\\x.cs(1,2): error CS1002", "D:\\b\\y.cs(30,4): error CS1002"),
        ("Connection to 10.0.0.1:443 timed out after 30000 ms", "Connection to 10.9.8.7:80 timed out after 5 s"),
        ("task 4d3c2b1a-0000-4000-8000-0123456789ab died", "task 11111111-2222-4333-8444-555555555555 died"),
    ],
)
def test_what_differs_from_build_to_build_is_not_in_the_signature(one, other):
    assert signature(one, "acme/widget") == signature(other, "acme/gadget")
    assert one != signature(one, "acme/widget")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("foo: command not found", "bar: command not found"),
        ("GET https://a.example/x failed", "GET https://b.example/x failed"),
        ("HTTP 404", "HTTP 503"),
        ("ModuleNotFoundError: No module named 'yaml'", "ModuleNotFoundError: No module named 'attr'"),
    ],
)
def test_different_causes_have_different_signatures(one, other):
    assert signature(one) != signature(other)


def test_a_service_that_names_its_worker_first_has_said_nothing_of_the_failure():
    log = 'Worker information\r\n$ make test\r\nmake: *** [test] Error 1\r\nThe command "make test" exited with 1.\r\n'
    assert cause_in(log, 4096, lambda text: text).text == "make: *** [test] Error 1"


def test_what_says_it_all_is_one_cause_whichever_program_says_it():
    disk = [f"{program}: /x/{n}: No space left on device\n{DONE}" for n, program in enumerate(("tar", "cp", "ld"))]
    assert len({cause(printed).signature for printed in disk}) == 1


@pytest.mark.parametrize(
    "secret",
    [
        "token={}", "API_TOKEN={}", "--password {}", "password: {}", 'DB_PASSWORD="{}"', "secret: '{}'",
        "export AWS_SECRET_ACCESS_KEY={}", "Authorization: Bearer {}", "curl -H 'authorization: basic {}'",
        "api-key = {}", '{{"apiKey": "{}"}}', "using {} here", "https://bot:{}@git.example/x.git",
        "private_token={}&x=1", "\x1b[32mtoken\x1b[0m={}",
    ],
)  # fmt: skip
def test_known_secrets_and_what_stands_where_secrets_stand_is_blotted_out(secret):
    hidden = "hunter2hunter2x9"
    redactor = Redactor()
    redactor.add(hidden)
    for redact in (redactor.text, Redactor().text) if "using" not in secret else (redactor.text,):
        found = cause(f"{secret.format(hidden)}\nerror: {secret.format(hidden)}\n", redact=redact)
        assert hidden not in f"{found.text} {found.signature} {found.tail}", secret


@pytest.mark.parametrize(
    "shape",
    [
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "glpat-abcdefghij0123456789", "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\nAAAA+/=\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nwithout an end",
        "the key is 0123456789abcdef0123456789abcdef", "secret QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk=",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_blotted_out(shape):
    shown = blotted(f"before\n{shape}\n")
    assert "before" in shown
    assert not any(len(word) > 15 or word in ("MIIEabc", "b3BlbnNzaC1rZXk") for word in shown.split())


def test_a_secret_that_the_end_begins_within_is_not_half_kept():
    key = "\n".join(
        ["-----BEGIN PRIVATE KEY-----", *["QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0"] * 40, "-----END PRIVATE KEY-----"]
    )
    kept = cause(f"{key}\nerror: it broke\n", at_most=400).tail
    assert kept == "***\nerror: it broke"
    assert cause("x" * 1000 + f"token=abc{'d' * 90}\nerror: it broke\n", at_most=100).tail == "error: it broke"
    assert cause("y" * 1000, at_most=100) is None


def test_a_secret_at_the_edge_of_a_long_line_is_not_half_kept():
    redactor = Redactor()
    redactor.add(secret := "s3cr3t" + "k" * 60)
    for before in range(3900, 4001, 20):  # what is blotted away lets what follows move into what is kept
        kept = cause(
            f"error: {('token=' + 'a1' * 70 + ' ') * 30}"[:before].rsplit(" ", 1)[0] + f" {secret} it broke",
            redact=redactor.text,
        )
        assert "s3cr3t" not in kept.text + kept.tail
    assert cause("error:" + "y" * 5000).text == "***"


def test_of_a_long_log_only_what_is_kept_is_searched_for_secrets():
    asked = []
    log = "error: token=abc1 is wrong\n" + "a line like many others\n" * 10_000
    found = cause(log, at_most=len(log) + 1, redact=lambda text: asked.append(len(text)) or text)
    assert found.text == "error: token=*** is wrong"
    assert sum(asked) < 2 * 70_000


def test_what_is_kept_of_a_log_is_bounded():
    found = cause("\n".join(f"error: {n} " + "long " * 500 for n in range(5000)))
    assert len(found.tail) <= LAST_CHARACTERS
    assert len(found.text) <= 300
    assert len(found.signature) <= 200


@pytest.mark.parametrize(
    "evil",
    [
        "a",
        "key",
        "eyJ",
        "x-",
        "token%20",
        "password ",
        "/a",
        "key ",
        "-",
        "\x1b[",
        "token= ",
        "-----BEGIN ",
        "0",
        "a.",
        "error ",
    ],
)
def test_no_log_keeps_the_process_busy(evil):
    for width in (1900, 10**6):
        text = evil * (65_000 // len(evil))
        lines = "\n".join(text[start : start + width] for start in range(0, len(text), width))
        began = time.process_time()
        cause(lines, redact=Redactor().text)
        assert time.process_time() - began < 2.0
