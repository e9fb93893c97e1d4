"""References to secrets, the secrets that they stand for, and the redactor that takes them out of what is shown.

A reference (`env:NAME`, `file:PATH`, `command:ARGV`) may be written anywhere; the secret exists only in memory, inside
a `Secret` that does not print. Nothing of the machine is read that was not handed in: variables, home, directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.frozen import Struct, field

if TYPE_CHECKING:
    import subprocess

AT_MOST = 64 * 1024  # bytes; longer than any token
PATIENCE = 30.0  # seconds that a command may take
FORMS = "write env:NAME, file:PATH or command:ARGV"


class Secret:
    """Text that does not print: not by repr, str, format or pickle; only `reveal()` tells it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def fingerprint(self, salt: str) -> str:
        """A hash that stands in for the secret where two must be told apart, hex."""
        return hashlib.sha256(f"{salt}\n{self._text}".encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class Secrets(Struct, frozen=True):
    """Resolves references; each is resolved once and kept for the life of the process.

    Args:
        environ: the variables that `env:` reads and that commands see.
        home: what `~` in `file:` means.
        cwd: where relative paths start and commands run.
        seen: is given each secret as it is resolved, to keep it out of what is shown.
        gone: is given each that need not be kept out any more, since it opens nothing.
    """

    environ: Mapping[str, str]
    home: Path
    cwd: Path
    patience: float = PATIENCE
    seen: Callable[[str], None] = lambda _: None
    gone: Callable[[str], None] = lambda _: None
    _known: dict[str, Secret] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(home={self.home!r}, cwd={self.cwd!r})"

    def __call__(self, reference: str) -> str:
        """The secret itself.

        Raises:
            UsageError: it cannot be resolved; the message names the reference and a remedy, never the value.
        """
        return self.resolve(reference).reveal()

    def resolve(self, reference: str) -> Secret:
        """The secret, wrapped; errors as when called."""
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self.keep(Secret(checked(self._read(reference), shown(reference))))
        return known

    def keep(self, secret: Secret) -> Secret:
        """A secret that was found without a reference, such as another client's login."""
        self.seen(secret.reveal())
        return secret

    def forget(self, secret: Secret) -> None:
        """A secret that was kept has ended."""
        self.gone(secret.reveal())

    def key(self, reference: str) -> Secret:
        """The private key, as PEM, for which the reference stands: a secret of several lines; errors as when called."""
        known = self._known.get(f"key {reference}")
        if known is None:
            text, name = self._read(reference).strip(), shown(reference)
            if _PEM.fullmatch(text) is None:
                raise UsageError(f"{name}: is no private key in PEM, which begins with `-----BEGIN`; name its file")
            known = self._known[f"key {reference}"] = Secret(f"{text}\n")
            for line in text.split("\n")[1:-1]:
                if len(line) >= SHORT and not line.startswith("-"):
                    self.seen(line.strip())
        return known

    def _read(self, reference: str) -> str:
        scheme, _, rest = reference.partition(":")
        match scheme:
            case "env" if rest:
                return self._variable(rest)
            case "file" if rest:
                return self._file(rest)
            case "command" if rest.strip():
                return self._command(rest)
        # The text is not repeated: somebody may have written the secret itself where its reference belongs.
        raise UsageError(f"a secret is given by reference, and this is none: {FORMS}")

    def _variable(self, name: str) -> str:
        value = self.environ.get(name)
        if value is None:
            raise UsageError(f"env:{name}: the environment variable {name} is not set; export it, or {FORMS}")
        return value

    def _file(self, path: str) -> str:
        place = self.cwd / (self.home / path[2:] if path.startswith("~/") else path)
        try:
            with place.open("rb") as file:
                return _text(file.read(AT_MOST + 1), f"file:{path}")
        except OSError as error:
            raise UsageError(f"file:{path}: cannot be read ({error.strerror}); looked at {place}") from None
        except ValueError:
            raise UsageError(f"file:{path}: that is not a path") from None

    def _command(self, line: str) -> str:
        name = shown(f"command:{line}")
        try:
            argv = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{name}: cannot be split into words ({error}); check its quotes") from None
        out, status = self._run(argv, name)
        if status != 0:
            raise UsageError(f"{name}: ended with status {status}; run it by hand to see why")
        return _text(out, name)

    def _run(self, argv: list[str], name: str) -> tuple[bytes, int]:
        """What the command prints, cut a little above the bound, and its exit status."""
        import subprocess  # slow to import, and few secrets are made by a program
        import threading

        late = threading.Event()
        try:
            process = subprocess.Popen(  # noqa: S603  # no shell; the words are the user's own
                argv,
                cwd=self.cwd,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"{name}: cannot be started ({error}); give the program's full path") from None

        def give_up() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(self.patience, give_up)
        timer.start()
        with process:
            try:
                out = process.stdout.read(AT_MOST + 1) if process.stdout else b""
                if len(out) > AT_MOST:
                    _kill(process)
                process.wait()
            finally:
                timer.cancel()
                _kill(process)  # nothing to do unless we were interrupted
        if late.is_set():
            raise UsageError(f"{name}: took longer than {self.patience:g} s; it must not ask questions")
        return out, 0 if len(out) > AT_MOST else process.returncode


def shown(reference: str) -> str:
    """A reference for messages: of a command only the program, as its words may hold secrets."""
    scheme, _, rest = reference.partition(":")
    return f"command:{rest.split()[0]} ..." if scheme == "command" and len(rest.split()) > 1 else reference


def checked(text: str, name: str) -> str:
    """The secret without its one trailing newline.

    Raises:
        UsageError: it is empty or holds what no token holds, so that a header cannot be forged or broken.
    """
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise UsageError(f"{name}: is empty; it must hold the token and nothing else")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise UsageError(
            f"{name}: holds spaces, line breaks or other characters that no token has; store the token alone"
        )
    return secret


def _text(raw: bytes, name: str) -> str:
    if len(raw) > AT_MOST:
        raise UsageError(f"{name}: gives more than {AT_MOST // 1024} KiB; that is no token")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{name}: is not text; it must hold the token and nothing else") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it started, as those may hold its output open."""
    import signal

    if process.returncode is not None:
        return
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended


# -- what is shown ----------------------------------------------------------------------------------------------

# Two nets: every secret that was resolved is known by its text, in each spelling in which it may turn up; and what
# looks like credentials (a header, a password in a URL, a key named `token`) is blotted out even when nobody told us.
BLOT = "***"
DEEPEST = 12  # levels of nesting that are looked into; what is below is written as text first
SHORT = 6  # characters; a shorter secret is only taken out where it stands alone, or nothing could be read any more

_KEY = re.compile(
    r"(?:^|[-_.])(?:authorization|auth|token|cookie|passwd|password|secret|credentials?|api[-_]?key|private[-_]?key)$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"^(?:env|file|command):", re.IGNORECASE)  # says where a secret stands, is none itself

_PEM = re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----\s[A-Za-z0-9+/=\s]+\s-----END \1-----")
_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:private|job|access|x-[a-z-]{0,60})-token|set-cookie|cookie)"
    r"([\"']?\s*[:=,]\s*(?:b?\\?[\"'])?)([^\"'\r\n,;)}\]]+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(token|bearer|basic)(\s+|%20)(?=[^\s\"']{0,200}[0-9])([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_USERINFO = re.compile(r"(\w://)[^\s/@\"'?#]+@")
_QUERY = re.compile(
    r"([?&;](?:access_|private_|job_|refresh_|client_)?(?:token|secret|password|api_?key|auth)=)[^\s&#\"']+",
    re.IGNORECASE,
)


class Redactor:
    """Knows the secrets of this process and takes them out of texts and values; grows with `add`."""

    def __init__(self) -> None:
        self._spellings: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Redactor({len(self._spellings)} spellings)"

    def add(self, secret: str) -> None:
        """From now on this text is taken out, in plain and in its usual encodings."""
        new = {spelling for spelling in _spellings(secret) if spelling} - self._spellings
        if new:
            self._spellings |= new
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._known = re.compile("|".join(_pattern(spelling) for spelling in longest_first))

    def forget(self, secret: str) -> None:
        """It opens nothing any more: what comes and goes would fill the memory."""
        self._spellings -= set(_spellings(secret))

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(BLOT, text)
        text = _HEADER.sub(rf"\1\2{BLOT}", text)
        text = _SCHEME.sub(rf"\1\2{BLOT}", text)
        text = _USERINFO.sub(rf"\1{BLOT}@", text)
        return _QUERY.sub(rf"\1{BLOT}", text)

    def value(self, value: Any, depth: int = 0) -> Any:
        """The value without secrets: plain containers are rebuilt, everything else is written as text."""
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, Mapping) and depth < DEEPEST:
            return {self.text(str(key)): self._of(str(key), item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and depth < DEEPEST:
            return [self.value(item, depth + 1) for item in _paired(value)]
        return self.text(value if type(value) is str else _written(value))

    def _of(self, key: str, value: Any, depth: int) -> Any:
        """The value of a key; of a key that names a secret only a reference or nothing is left."""
        if not _KEY.search(key) or value is None or isinstance(value, bool):
            return self.value(value, depth + 1)
        return self.text(value) if isinstance(value, str) and _REFERENCE.match(value) else BLOT


def _paired(items: Any) -> Any:
    """A (name, value) pair, as raw headers come, is seen as what it is."""
    if isinstance(items, tuple) and len(items) == 2 and isinstance(items[0], (str, bytes)):
        name = items[0] if isinstance(items[0], str) else items[0].decode("latin-1")
        if _KEY.search(name):
            return (name, BLOT)
    return items


def _written(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # a log line must not fail because somebody's __str__ does
        return f"<{type(value).__name__} that cannot be written: {type(error).__name__}>"


def _spellings(secret: str) -> Iterator[str]:
    """The ways in which a secret may turn up in a text."""
    import json  # not for verbs that resolve no secret
    from urllib.parse import quote, quote_plus

    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    if len(secret) >= SHORT:
        yield secret.encode().hex()
        yield from _in_base64(secret.encode())


def _in_base64(raw: bytes) -> Iterator[str]:
    """The part of its base64 that does not depend on what stands around it, at each of three alignments."""
    import base64

    for before in range(3):
        padded = b"\0" * before + raw
        whole = len(padded) // 3 * 3
        text = base64.b64encode(padded[:whole]).decode()[4 if before else 0 :]
        if len(text) >= 2 * SHORT:
            yield text
            yield text.replace("+", "-").replace("/", "_")


def _pattern(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= SHORT else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"
