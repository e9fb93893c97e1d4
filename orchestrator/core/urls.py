"""Where the calls of an account may go: what its URL may look like, and which hosts are this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_problem(url: str, insecure: bool) -> tuple[str, str] | None:
    """What is wrong with an account's URL, and the remedy; never repeats the URL, which may hold a secret.

    Args:
        insecure: whether plain http may leave this machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "this is no URL", "write https://HOST[/PATH]"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
        return "this is no http URL", "write https://HOST[/PATH]"
    if parts.username is not None or parts.password is not None:
        return "a URL holds no credentials", "use `token`, and change the secret that stood here"
    if parts.query or parts.fragment:
        return "the URL of an account ends with its path", "remove what begins with ? or #"
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        return "plain http would send the token in the clear", "use https, or write `insecure: true`"
    return None
