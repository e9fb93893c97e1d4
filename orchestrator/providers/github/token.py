"""The token that is there already: in GITHUB_TOKEN, or as the gh client has it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.core.errors import UsageError
from orchestrator.core.secrets import Secret, Secrets, checked


def stored_token(url: str, environ: Mapping[str, str], home: Path) -> Secret | None:
    """`GITHUB_TOKEN`, else what `gh auth token` prints for the host of `url`; None where there is neither."""
    if environ.get("GITHUB_TOKEN"):
        return Secret(checked(environ["GITHUB_TOKEN"], "env:GITHUB_TOKEN"))
    host = (urlsplit(url).hostname or "").removeprefix("api.")
    try:
        return Secrets(environ, home, home).resolve(f"command:gh auth token --hostname {shlex.quote(host)}")
    except UsageError:  # there is no gh, or it knows no token: the caller tells where one may stand
        return None
