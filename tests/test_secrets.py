import pickle
import sys
import time

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.core.secrets import AT_MOST, Redactor, Secret, Secrets, shown

TOKEN = "s3cr3t-tok3n"


def secrets(tmp_path, patience=30.0, **environ):
    return Secrets(environ, home=tmp_path / "home", cwd=tmp_path, patience=patience)


def python(code):
    return f'command:{sys.executable} -c "{code}"'


def problem(resolver, reference):
    with pytest.raises(UsageError) as caught:
        resolver(reference)
    return str(caught.value)


def test_a_variable_gives_the_secret(tmp_path):
    assert secrets(tmp_path, TRAVIS_TOKEN=TOKEN)("env:TRAVIS_TOKEN") == TOKEN


def test_a_file_gives_the_secret_without_its_one_trailing_newline(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert secrets(tmp_path)("file:token") == TOKEN
    assert secrets(tmp_path)(f"file:{tmp_path / 'token'}") == TOKEN


def test_a_tilde_means_the_home_that_was_handed_in(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(TOKEN)
    assert secrets(tmp_path)("file:~/token") == TOKEN


def test_a_command_gives_the_secret_from_the_directory_and_variables_that_were_handed_in(tmp_path):
    (tmp_path / "half").write_text("s3cr3t-")
    code = "import os; print(open('half').read() + os.environ['OTHER'])"
    assert secrets(tmp_path, OTHER="tok3n")(python(code)) == TOKEN


def test_a_command_is_no_shell(tmp_path):
    assert secrets(tmp_path)("command:echo $HOME;ls") == "$HOME;ls"


def test_a_reference_is_resolved_once(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    resolver = secrets(tmp_path)
    resolver("file:token")
    (tmp_path / "token").unlink()
    assert resolver("file:token") == TOKEN


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    began = time.monotonic()
    said = problem(secrets(tmp_path, patience=0.3), "command:sh -c 'sleep 60 & sleep 60'")
    assert "longer than 0.3 s" in said
    assert time.monotonic() - began < 10


def test_a_command_without_end_is_cut(tmp_path):
    assert "KiB" in problem(secrets(tmp_path), "command:yes")


def test_a_command_that_fails_says_how(tmp_path):
    said = problem(secrets(tmp_path), python(f"print('{TOKEN}'); raise SystemExit(3)"))
    assert "status 3" in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:NOT_THERE", ["env:NOT_THERE", "not set", "export"]),
        ("file:not-there", ["file:not-there", "No such file"]),
        ("file:.", ["directory"]),
        ("command:not-a-program-of-this-machine", ["cannot be started"]),
        ("command:'open", ["quotes"]),
        ("env:", ["env:NAME, file:PATH or command:ARGV"]),
        ("command: ", ["env:NAME"]),
        ("", ["env:NAME"]),
    ],
)
def test_what_cannot_be_resolved_names_the_reference_and_a_remedy(tmp_path, reference, words):
    said = problem(secrets(tmp_path), reference)
    for word in words:
        assert word in said


def test_a_secret_written_in_the_clear_is_not_repeated(tmp_path):
    assert TOKEN not in problem(secrets(tmp_path), TOKEN)
    assert TOKEN not in problem(secrets(tmp_path), f"token:{TOKEN}")


def test_the_words_of_a_command_are_not_repeated(tmp_path):
    assert TOKEN not in problem(secrets(tmp_path), f"command:false --password {TOKEN}")
    assert shown("command:pass show ci") == "command:pass ..."


@pytest.mark.parametrize(
    "value", ["", "\n", "a b", "a\nb", "a\tb", "tok\x00en", "tökën", "a\r\nX-Evil: 1", " a", "a\n\n"]
)
def test_what_no_token_holds_is_refused_without_being_shown(tmp_path, value):
    said = problem(secrets(tmp_path, T=value), "env:T")
    assert said.startswith("env:T: ")
    assert len(value) < 3 or value not in said


def test_a_file_that_is_too_long_or_no_text_is_refused(tmp_path):
    (tmp_path / "long").write_text("x" * (AT_MOST + 1))
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00")
    assert "KiB" in problem(secrets(tmp_path), "file:long")
    assert "not text" in problem(secrets(tmp_path), "file:raw")


def test_a_secret_does_not_print():
    secret = Secret(TOKEN)
    for shape in (repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{[secret]}", f"{vars}"):
        assert TOKEN not in shape
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == TOKEN


def test_the_resolver_prints_none_of_what_it_resolved(tmp_path):
    resolver = secrets(tmp_path, T=TOKEN)
    resolver("env:T")
    assert "Secret(" not in repr(resolver)


def test_a_fingerprint_tells_tokens_and_hosts_apart_and_gives_neither_away():
    one, same, other = Secret("a"), Secret("a"), Secret("b")
    assert one.fingerprint("x") == same.fingerprint("x")
    assert len({one.fingerprint("x"), one.fingerprint("y"), other.fingerprint("x")}) == 3


KEY = "-----BEGIN RSA PRIVATE KEY-----\nQUJDREVGR0g=\nSUpLTE1OT1A=\n-----END RSA PRIVATE KEY-----\n"


def test_a_private_key_has_lines_of_which_each_is_kept_out_of_what_is_shown(tmp_path):
    (tmp_path / "app.pem").write_text(KEY)
    redactor = Redactor()
    resolver = Secrets({}, tmp_path, tmp_path, seen=redactor.add)
    assert resolver.key("file:app.pem").reveal() == KEY
    assert redactor.text("line SUpLTE1OT1A= of a PRIVATE KEY") == "line *** of a PRIVATE KEY"
    with pytest.raises(UsageError, match="no token has"):
        resolver("file:app.pem")  # it is no token: a header with its lines could forge others


@pytest.mark.parametrize("text", [TOKEN, KEY.replace("RSA", "rsa"), KEY + "more", KEY.replace("=", "\0")])
def test_what_is_no_private_key_is_not_shown(tmp_path, text):
    (tmp_path / "app.pem").write_text(text)
    said = problem(secrets(tmp_path).key, "file:app.pem")
    assert "no private key in PEM" in said
    assert TOKEN not in said


def test_what_has_ended_is_forgotten_once_something_new_is_known():
    redactor = Redactor()
    redactor.add("first-token")
    redactor.forget("first-token")
    redactor.add("second-token")
    assert redactor.text("first-token second-token") == "first-token ***"
