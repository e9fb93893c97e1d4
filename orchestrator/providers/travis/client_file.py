"""The token that the `travis` command-line client has stored; read only, never written.

The file is `$TRAVIS_CONFIG_PATH/config.yml`, by default `~/.travis/config.yml`; the token is at
`endpoints.<API URL>.access_token`, where the URL is written with or without a trailing slash.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.secrets import Secret, checked

AT_MOST = 1024 * 1024  # bytes


def token(url: str, environ: Mapping[str, str], home: Path) -> Secret | None:
    """The token for the API at `url`, or None when the client has none for it.

    Raises:
        UsageError: the file is there and cannot be understood.
    """
    folder = environ.get("TRAVIS_CONFIG_PATH")
    path = Path(folder) / "config.yml" if folder else home / ".travis" / "config.yml"
    try:
        with path.open("rb") as file:
            raw = file.read(AT_MOST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); set TRAVIS_TOKEN instead") from None
    found = _token_in(_parse(raw, path), url)
    return None if found is None else Secret(checked(found, f"{path}, access_token of {url}"))


def _parse(raw: bytes, path: Path) -> object:
    import yaml  # only where this file is needed: the client must stay quick to start

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if len(raw) > AT_MOST:
            raise ValueError("too long")
        return yaml.load(raw, loader)  # noqa: S506  # a safe loader, the C one where there is one
    except (yaml.YAMLError, ValueError, RecursionError):  # the error would quote the text, which holds tokens
        problem = UsageError(f"{path}: is not what the travis client writes; set TRAVIS_TOKEN instead")
    raise problem


def _token_in(config: object, url: str) -> str | None:
    endpoints = config.get("endpoints") if isinstance(config, dict) else None
    for key, entry in endpoints.items() if isinstance(endpoints, dict) else ():
        if isinstance(key, str) and _same(key, url) and isinstance(entry, dict):
            found = entry.get("access_token")
            return found if isinstance(found, str) and found else None
    return None


def _same(left: str, right: str) -> bool:
    return left.rstrip("/").lower() == right.rstrip("/").lower()
