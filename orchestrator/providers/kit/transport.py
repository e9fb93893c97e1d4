"""The transport: sends one call once over aiohttp, and sorts what went wrong by whether the call may have arrived.

With `connections`, where aiohttp's client is made stricter, the only place that knows it. What it guarantees to all
providers:

* nothing is sent twice: no POST is repeated on a stale connection (aiohttp repeats only what is idempotent), idle
  connections are dropped before servers drop them, and of redirects only a 307 or 308 (and the 301 of a read about a
  repository) to the same scheme, host and port is followed, once: whoever answers so has done nothing;
* the token goes to the account's host over TLS that was verified, or to this machine, and nowhere else; it is in no
  error, and is blotted out of bodies in which a server repeats it;
* every answer is bounded: 8 MiB after decompression, headers of 128 KiB in all and 100 KiB each, 30 seconds in all.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NoReturn, TypeAlias, cast
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import aiohttp
from yarl import URL

from orchestrator import __version__
from orchestrator.core.calls import Answer, Call, Send, is_loopback, url_problem
from orchestrator.core.errors import (
    AccessRefused,
    Crowded,
    InDoubt,
    OrchestratorError,
    Rejected,
    Unreachable,
    Unreadable,
    UsageError,
)
from orchestrator.core.model import Account
from orchestrator.core.secrets import Secret
from orchestrator.providers.kit.answers import quoted
from orchestrator.providers.kit.bodies import LARGEST, too_large, unpacked, value, without
from orchestrator.providers.kit.connections import (
    MOST_READ,
    Connector,
    EndlessHeaders,
    Request,
    Response,
    Surplus,
    ready,
)

TOTAL = 30.0  # seconds for a call, from its start to the last byte of the answer
CONNECT = 10.0  # seconds of these for name, connection and TLS
LONGEST_HEADER, ALL_HEADERS, MOST_HEADERS = 100 * 1024, 128 * 1024, 1000  # bytes of one, of all; how many
MOST_LOCATION = 2000  # characters of a redirect's address that are looked at
MOST_STALE = 100  # connections that are given up, one after the other, before a call is
NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
KEEP_ALIVE = 4.0  # seconds; Travis' own proxy closes idle connections after 5

USER_AGENT = f"batch-trigger-orchestrator/{__version__}"


@dataclass(frozen=True, slots=True, repr=False)
class Proxies:
    """Which proxy leads out of here, as curl and Go read it; it may hold a password, so it does not print.

    Args:
        https, http: the proxy's URL for such URLs, None for none.
        no_proxy: what is reached directly, separated by commas or spaces: hosts with all below them, also with a port,
            addresses, networks (`10.0.0.0/8`); `*` for all.
    """

    https: str | None = None
    no_proxy: str = ""
    http: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        """As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say; in small letters first."""

        def said(*names: str) -> str:
            found = (environ.get(name, "").strip() for capital in names for name in (capital.lower(), capital))
            return next(filter(None, found), "")

        return cls(said("HTTPS_PROXY", "ALL_PROXY"), said("NO_PROXY"), said("HTTP_PROXY", "ALL_PROXY"))

    def to(self, url: SplitResult) -> str | None:
        """The proxy for this URL; this machine is always reached directly.

        Raises:
            UsageError: it is of a kind that is not supported.
        """
        host, proxy = (url.hostname or "").rstrip("."), self.https if url.scheme == "https" else self.http
        direct = self.no_proxy.lower().replace(",", " ").split()
        port = url.port or (443 if url.scheme == "https" else 80)
        if not proxy or is_loopback(host) or any(_is_meant(entry, host, port) for entry in direct):
            return None
        scheme, mark, _ = proxy.partition("://")
        if mark and scheme.lower() not in ("http", "https"):
            raise UsageError(
                f"proxies of the kind {quoted(scheme, 20)}:// are not supported; "
                "name one with http:// in HTTPS_PROXY, or the host in NO_PROXY"
            )
        return proxy if mark else f"http://{proxy}"


def _is_meant(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means this host: a name and all below it, an address, a network."""
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and (":" not in name or name.endswith("]")):
        return int(only) == port and _is_meant(name, host, port)
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return entry == "*" or (name != "" and f".{host}".endswith(f".{name}"))


@asynccontextmanager
async def transport(
    account: Account,
    headers: Mapping[str, str],
    *,
    proxies: Proxies | None = None,
    ca_file: str | None = None,
    hide: Sequence[Secret] = (),
    total: float = TOTAL,
    connect: float = CONNECT,
) -> AsyncIterator[Send]:
    """Opens connections to the account's host as they are needed, and closes them at the end.

    Args:
        headers: sent with every call, the credentials among them.
        ca_file: authorities to trust instead of the system's.
        hide: what is blotted out of answers, as it stands when one comes.

    Raises:
        UsageError: the URL is none, or the token would travel in the clear, or `ca_file` cannot be read.
    """
    problem = url_problem(account.url, account.insecure)
    if problem is not None:
        raise UsageError(f"account {account.name}: url: {'; '.join(problem)}")
    url = urlsplit(account.url)
    try:
        proxy = (proxies or Proxies()).to(url)
        via = URL(proxy) if proxy else None
        if via is not None and not via.host:
            raise ValueError(proxy)
    except ValueError:
        raise UsageError("the proxy's URL is not valid; correct HTTPS_PROXY") from None
    connector = Connector(
        limit=0,  # the engine keeps `connections`; a queue in here would eat the time of a call
        keepalive_timeout=KEEP_ALIVE,
        ssl=_trust(ca_file) if url.scheme == "https" else True,
    )
    timeout = aiohttp.ClientTimeout(total=total, connect=connect)
    async with _session(connector, headers, timeout) as session, _session(connector, {}, timeout, owns=False) as bare:
        stranger = _stranger(bare, proxies or Proxies(), is_local=is_loopback(url.hostname or ""))
        yield _sender(session, account.url.rstrip("/"), url.hostname or "", via, hide, stranger)


def _session(
    connector: Connector, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout, *, owns: bool = True
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=owns,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate", **headers},
        skip_auto_headers=("Content-Type",),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # done here, bounded
        max_line_size=MOST_READ,
        max_field_size=MOST_READ,
        max_headers=MOST_HEADERS,
        trust_env=False,
        request_class=Request,
        response_class=Response,
    )


Fetch: TypeAlias = Callable[[str, int], Awaitable[tuple[int, bytes]]]


def _stranger(session: aiohttp.ClientSession, proxies: Proxies, *, is_local: bool) -> Fetch:
    """Reads a page of another host over TLS, to which nothing of ours is sent: no token, no header of the service's.

    Args:
        is_local: the account is on this machine: then such a page may be, too, and without TLS.
    """

    async def fetch(there: str, at_most: int) -> tuple[int, bytes]:
        ready.set(None)
        host = urlsplit(there.partition("?")[0]).hostname or ""
        if url_problem(there.partition("?")[0], insecure=False) or (is_loopback(host) and not is_local):
            raise InDoubt("the answer leads to an address that is none, or is not safe")
        via = proxies.to(urlsplit(there))
        async with session.get(URL(there, encoded=True), allow_redirects=False, proxy=via) as response:
            _check_headers(response)
            raw = await _read(response, at_most)
            return response.status, unpacked(raw, response.headers.get("Content-Encoding", ""), at_most)

    return fetch


def _sender(
    session: aiohttp.ClientSession, base: str, host: str, via: URL | None, hide: Sequence[Secret], stranger: Fetch
) -> Send:
    origin = str(URL(base).origin())
    where = host if via is None else f"{host} (through the proxy {via.host}:{via.port})"

    async def send(call: Call) -> Answer:
        query = "?" + urlencode(call.query, quote_via=quote, safe=":,") if call.query else ""
        url = URL((origin if call.beside else base) + call.path + query, encoded=True)
        for _ in range(MOST_STALE):
            with suppress(Surplus):
                return await once(call, url)
        raise Unreachable(f"{host}: the server speaks before it is asked")

    async def once(call: Call, url: URL, *, is_moved: bool = False) -> Answer:
        kind, data = call.content
        more = {"Content-Type": kind} if kind else {}
        more.update({} if call.etag is None else {"If-None-Match": call.etag})
        more.update(call.headers)
        more.update({} if call.sign is None else call.sign(data))
        ready.set(call.ready)
        try:
            async with session.request(
                call.method,
                url,
                data=data or None,
                headers=more or None,
                allow_redirects=False,
                proxy=via,
            ) as response:
                _check_headers(response)
                there = None if is_moved else _moved_to(response, url, call)
                elsewhere = _left_to(response, url, call)
                if elsewhere is not None:
                    status, raw = await stranger(elsewhere, call.at_most or LARGEST)
                    return Answer(status, without(raw, _bytes(hide)).decode("utf-8", "replace"), size=len(raw))
                if there is None and 300 <= response.status < 400 and not _is_answer(response, call):
                    _refuse_redirect(response, host, call)
                raw = await _read(response, call.at_most)
                body = unpacked(raw, response.headers.get("Content-Encoding", ""), call.at_most)
        except Surplus:
            raise
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            failure = _sorted(error, where)
        else:
            if there is not None:
                return await once(call, there, is_moved=True)
            hang_up = cast(Response, response).hang_up
            shown = without(body, _bytes(hide))
            found = value(shown) if call.at_most is None else shown.decode("utf-8", "replace")
            return Answer(response.status, found, response.headers, len(body), hang_up, is_moved)
        # Outside the handler: aiohttp's errors hold the headers that were sent, so they must not hang on to ours.
        raise failure

    return send


def _bytes(secrets: Sequence[Secret]) -> list[bytes]:
    return [secret.reveal().encode() for secret in secrets]


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError):
        raise UsageError(f"SSL_CERT_FILE: {ca_file} holds no certificates that can be read") from None


async def _read(response: aiohttp.ClientResponse, at_most: int | None) -> bytes:
    """The body as it came, bounded; where no more is wanted, the connection is closed on what is left."""
    body = await response.content.readany()
    if response.content.at_eof():
        return body
    parts, size = [body], len(body)
    while not response.content.at_eof():
        parts.append(await response.content.readany())
        size += len(parts[-1])
        if at_most is not None and size > at_most:
            response.close()
            break
        if size > LARGEST:
            too_large()
    return b"".join(parts)


def _check_headers(response: aiohttp.ClientResponse) -> None:
    sizes = [(len(name) + len(value), name) for name, value in response.raw_headers]
    longest, name = max(sizes, default=(0, b""))
    if longest > LONGEST_HEADER or sum(size for size, _ in sizes) > ALL_HEADERS:
        what, most = ("a header", LONGEST_HEADER) if longest > LONGEST_HEADER else ("headers", ALL_HEADERS)
        named = quoted(name.decode("latin-1").lower(), 60)
        raise Unreadable(f"the answer has {what} above {most // 1024} KiB (the longest: {named})")


def _moved_to(response: aiohttp.ClientResponse, url: URL, call: Call) -> URL | None:
    """Where the same call is to go instead, with its method and body, on the same server; None for everything else.

    A repository that was renamed answers reads with a 301, at some services writes too.
    """
    location = response.headers.get("Location", "")
    is_followed = call.moves or (call.method == "GET" and call.repo is not None)
    kinds = (301, 307, 308) if is_followed else (307, 308)
    if response.status not in kinds or not location.isascii() or not location.isprintable() or " " in location:
        return None
    try:
        there = URL(urljoin(str(url), location), encoded=True)
        return there if location and there.origin() == url.origin() and there.raw_user is None else None
    except ValueError:
        return None


def _left_to(response: aiohttp.ClientResponse, url: URL, call: Call) -> str | None:
    """The page of another host to which a call may be led that only reads, and says that it may."""
    location = response.headers.get("Location", "")
    if not call.leaves or call.changes or response.status not in (302, 307) or not location.isprintable():
        return None
    try:
        return urljoin(str(url), location) if location.isascii() and " " not in location else None
    except ValueError:
        return None


def _is_answer(response: aiohttp.ClientResponse, call: Call) -> bool:
    """Whether a 3xx is what was asked for: nothing has changed, or a redirect that says all by its `Location`."""
    location = response.headers.get("Location", "")[:MOST_LOCATION]
    is_known = call.redirects is not None and re.search(call.redirects, location) is not None
    return is_known or (call.etag is not None and response.status == 304)


def _refuse_redirect(response: aiohttp.ClientResponse, host: str, call: Call) -> NoReturn:
    """A redirect would carry the token elsewhere, or turn a POST into a GET; that of a trigger may concern it alone."""
    try:
        there = urlsplit(response.headers.get("Location", "")).hostname or host
    except ValueError:
        there = "an address that is none"
    there = "".join(c for c in there[:100] if c.isprintable())
    reason = (
        f"{host} answers with a redirect (HTTP {response.status}) to {there}; it was not followed and the token went "
        f"nowhere else; correct the account's `url`"
    )
    if call.purpose == "trigger":
        raise Rejected("redirected", reason, is_foreign=True)
    raise AccessRefused("redirected", reason)


def _sorted(error: Exception, where: str) -> OrchestratorError:
    """Our error for one of aiohttp's: may the call have arrived?

    Args:
        where: the host, and the proxy on the way to it.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"{where}: no connection in time")
        case aiohttp.ClientConnectorCertificateError():
            return _tls_refused(where, error.certificate_error)
        case aiohttp.ClientProxyConnectionError():
            return Unreachable(f"{where}: the proxy cannot be reached; check HTTPS_PROXY")
        case aiohttp.ClientConnectorDNSError() | UnicodeError():
            return Unreachable(f"{where}: the name cannot be resolved")
        case aiohttp.ClientConnectorError():
            cause = error.os_error
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return _tls_refused(where, cause)
            why = f"{where}: cannot connect ({cause.strerror or type(cause).__name__})"
            return Crowded(why) if cause.errno in NO_MORE else Unreachable(why)
        case aiohttp.ClientHttpProxyError():
            return Unreachable(f"{where}: the proxy answers HTTP {error.status}; check HTTPS_PROXY")
        case EndlessHeaders():
            return Unreadable(f"the answer has headers above {MOST_READ // 1024:,} KiB")
        case TimeoutError():
            return InDoubt("no whole answer in time")
        case aiohttp.ClientPayloadError():
            return InDoubt("the answer is torn")
        case aiohttp.ClientResponseError():
            if "headers received" in error.message:
                return Unreadable(f"the answer has more than {MOST_HEADERS:,} headers")
            return Unreadable("the answer is not HTTP as it should be")
        case _:
            return InDoubt(f"the connection broke before an answer ({type(error).__name__})")


def _tls_refused(where: str, cause: object) -> AccessRefused:
    why = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__
    return AccessRefused(
        "tls_refused",
        f"{where}: no trusted TLS connection ({why}); nothing was sent; check `url`, "
        "and SSL_CERT_FILE if it has an authority of its own",
    )
