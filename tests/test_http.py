import asyncio
import gzip
import json
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator import __version__
from orchestrator.core.calls import Call, is_loopback
from orchestrator.core.errors import (
    AccessRefused,
    InDoubt,
    OrchestratorError,
    Rejected,
    TooLate,
    Unreachable,
    UsageError,
)
from orchestrator.core.frozen import replace
from orchestrator.core.model import Account
from orchestrator.core.secrets import Secret
from orchestrator.providers.kit.bodies import LARGEST
from orchestrator.providers.kit.transport import Proxies, transport

pytestmark = pytest.mark.anyio

TOKEN = "s3cr3t-tok3n"
HEADERS = {"Travis-API-Version": "3", "Authorization": f"token {TOKEN}", "Accept": "application/json"}
CERTIFICATE = Path(__file__).parent / "certificates" / "loopback.pem"  # self-made, trusted by nobody
POST = Call("POST", "/repo/acme%2Fwidget/requests", body={"request": {"branch": "main"}}, purpose="trigger")
GET = Call("GET", "/user")


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Heard(list):
    """What a server heard: (request line, headers in order, body) of each call."""

    connections = 0


@asynccontextmanager
async def served(answer, *, tls=None):
    """A server on which `answer(writer, heard)` writes raw bytes for each call; yields its URL and what it heard."""
    heard = Heard()
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        heard.connections += 1
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and not writer.is_closing():
                line, *lines = head.decode().split("\r\n")[:-2]
                headers = [tuple(line.split(": ", 1)) for line in lines]
                length = int({name.lower(): value for name, value in headers}.get("content-length", 0))
                heard.append((line, headers, await reader.readexactly(length)))
                await answer(writer, heard)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return  # the client has left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def always(raw):
    async def answer(writer, heard):
        writer.write(raw)
        await writer.drain()

    return answer


def http(body, status="200 OK", headers=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def opened(url, **kwargs):
    insecure = kwargs.pop("insecure", False)
    account = Account("travis", "travis", url, insecure=insecure)
    return transport(account, HEADERS, hide=(Secret(TOKEN),), **kwargs)


async def sent(answer, call=POST, **kwargs):
    async with served(answer) as (url, heard), opened(url, **kwargs) as send:
        return await send(call), heard


async def failure(answer, kind, call=POST, **kwargs):
    with pytest.raises(kind) as caught:
        await sent(answer, call, **kwargs)
    return str(caught.value)


async def test_a_call_carries_exactly_what_it_should():
    async with served(always(http(b"{}"))) as (url, heard), opened(f"{url}/api/") as send:
        await send(POST)
        line, headers, body = heard[0]
        assert line == "POST /api/repo/acme%2Fwidget/requests HTTP/1.1"
        assert json.loads(body) == {"request": {"branch": "main"}}
        assert dict(headers) == {
            "Host": urlsplit(url).netloc,
            "User-Agent": f"batch-trigger-orchestrator/{__version__}",
            "Accept-Encoding": "gzip, deflate",
            "Travis-API-Version": "3",
            "Authorization": f"token {TOKEN}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }


async def test_a_look_has_no_body_and_its_query_is_encoded():
    call = Call("GET", "/repo/4711/requests", query=(("from", "2026-01-05T01:00:00Z"), ("name", "a b/ü&%2F")))
    _, heard = await sent(always(http(b"{}")), call)
    line, headers, body = heard[0]
    assert line == "GET /repo/4711/requests?from=2026-01-05T01:00:00Z&name=a%20b%2F%C3%BC%26%252F HTTP/1.1"
    assert body == b""
    assert not {"Content-Type", "Cookie"} & dict(headers).keys()


async def test_a_post_without_a_body_says_so():
    _, heard = await sent(always(http(b"{}")), Call("POST", "/build/5/cancel"))
    assert dict(heard[0][1])["Content-Length"] == "0"
    assert "Content-Type" not in dict(heard[0][1])


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b"access denied", "access denied"),
        (b"<html>hello</html>", "<html>hello</html>"),
        (b"", ""),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b"[" * 100_000, "[" * 100_000),
        (b'{"torn": "js', '{"torn": "js'),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
    ids=["json", "text", "html", "empty", "nan", "deep", "torn json", "no text"],
)
async def test_a_body_is_its_json_value_or_its_text_whatever_its_label(raw, value):
    answer, _ = await sent(always(http(raw, headers=["Content-Type: text/html"])))
    assert answer.body == value


async def test_headers_come_back_in_lower_case():
    answer, _ = await sent(always(http(b"{}", "202 Accepted", ["X-Request-ID: 7"])))
    assert (answer.status, answer.headers["x-request-id"]) == (202, "7")


async def test_cookies_are_not_kept():
    async with served(always(http(b"{}", headers=["Set-Cookie: a=b"]))) as (url, heard), opened(url) as send:
        await send(GET)
        await send(GET)
        assert heard.connections == 1
        assert "Cookie" not in dict(heard[1][1])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read(encoding):
    import zlib

    raw = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](b'{"a": 1}')
    answer, _ = await sent(always(http(raw, headers=[f"Content-Encoding: {encoding}"])))
    assert answer.body == {"a": 1}


def headed(*sizes):
    return http(b"{}", headers=[f"Content-Security-Policy: {'y' * size}" for size in sizes])


async def test_headers_up_to_100_kib_each_and_128_kib_in_all_are_read():
    for sizes in ([100_000], [60_000, 60_000], [400] * 300):
        answer, _ = await sent(always(headed(*sizes)))
        assert answer.body == {}


BOMB = gzip.compress(b"0" * (LARGEST * 2), 1)
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (http(BOMB, headers=["Content-Encoding: gzip"]), "larger than 8 MiB"),
        (http(b"not gzip", headers=["Content-Encoding: gzip"]), "compression is broken"),
        (http(gzip.compress(b"x" * 999)[:-9], headers=["Content-Encoding: gzip"]), "torn"),
        (http(b"x", headers=["Content-Encoding: br"]), "not asked for"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
            "the answer has more than 1,000 headers",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n", "a header above 100 KiB (the longest: x)"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2**21, "headers above 1,024 KiB"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"y" * 9999) for n in range(200)),
            "headers above 1,024 KiB",
        ),
        (b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 2**16, "headers above 1,024 KiB"),
        (headed(150_000), r"a header above 100 KiB (the longest: content-security-policy)"),
        (headed(70_000, 70_000), "headers above 128 KiB (the longest: content-security-policy)"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP as it should"),
    ],
    ids=[
        "gzip bomb",
        "broken gzip",
        "torn gzip",
        "other encoding",
        "header flood",
        "very long header",
        "endless header",
        "endless headers",
        "endless promises",
        "long header",
        "long headers",
        "other protocol",
    ],
)
async def test_a_hostile_answer_leaves_the_call_in_doubt(raw, words):
    assert words in await failure(always(raw), InDoubt)


async def test_an_answer_without_end_is_cut():
    async def answer(writer, heard):
        writer.write(ENDLESS)
        for _ in range(2 * LARGEST // 65536):
            writer.write(b"\r\n10000\r\n" + b"x" * 65536)
            await writer.drain()

    assert "larger than 8 MiB" in await failure(answer, InDoubt)


def closing(raw=b"", abort=False):
    async def answer(writer, heard):
        writer.write(raw)
        await writer.drain()
        if abort:
            writer.transport.abort()
        writer.close()

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        closing(),
        closing(abort=True),
        closing(b"HTTP/1.1 202 Acc"),
        closing(b'HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{"request": {"id": 5'),
        closing(b'HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"req'),
    ],
    ids=["closed", "reset", "torn status", "torn body", "torn chunks"],
)
async def test_a_connection_that_dies_after_the_call_was_written_leaves_it_in_doubt(answer):
    await failure(answer, InDoubt)


async def test_a_post_on_a_connection_that_died_meanwhile_is_not_repeated():
    async def answer(writer, heard):
        if len(heard) > 1:
            writer.close()
            return
        writer.write(http(b"{}"))

    async with served(answer) as (url, heard), opened(url) as send:
        await send(POST)
        with pytest.raises(InDoubt):
            await send(POST)
        assert [line.split()[0] for line, *_ in heard] == ["POST", "POST"]
        assert heard.connections == 1


@pytest.mark.parametrize("used", [False, True])
async def test_a_call_that_is_no_longer_wanted_when_its_connection_is_ready_sends_no_byte(used):
    async def answer(writer, heard):
        writer.write(http(b"{}"))

    def late():
        raise TooLate("stopped meanwhile")

    async with served(answer) as (url, heard), opened(url) as send:
        if used:
            await send(POST)
        before = len(heard)
        with pytest.raises(TooLate):
            await send(replace(POST, ready=late))
        await send(GET)
        assert [line.split()[0] for line, *_ in heard[before:]] == ["GET"]


SURPLUS = b'{"for": "nobody"}'


def with_surplus(surplus, *, at_once):
    """Answers each call, and says more: in the same packet, or in one of its own."""

    async def answer(writer, heard):
        mine = http(b'{"to": %d}' % len(heard))
        writer.write(mine + surplus if at_once else mine)
        if not at_once:
            asyncio.get_running_loop().call_later(0.02, writer.write, surplus)
        asyncio.get_running_loop().call_later(0.02, heard.said.set)

    return answer


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("surplus", [http(SURPLUS), http(SURPLUS) * 3, http(SURPLUS)[:-5], b"0"])
@pytest.mark.parametrize("call", [GET, POST])
async def test_bytes_that_nobody_asked_for_are_nobodys_answer(call, surplus, at_once):
    async with served(with_surplus(surplus, at_once=at_once)) as (url, heard), opened(url) as send:
        for number in (1, 2, 3):
            heard.said = asyncio.Event()
            try:
                assert (await send(call)).body == {"to": number}
            except InDoubt:
                assert surplus not in (http(SURPLUS), http(SURPLUS) * 3)
            await heard.said.wait()
            for _ in range(9):  # turns of the loop in which the surplus arrives
                await asyncio.sleep(0)
        assert len(heard) == 3


async def test_the_connection_of_an_answer_to_another_question_is_closed():
    async with served(always(http(b"{}"))) as (url, heard), opened(url) as send:
        answer = await send(POST)
        answer.hang_up()
        await send(POST)
        answer.hang_up()
        await send(POST)
        assert heard.connections == 2


async def hangs(writer, heard):
    await asyncio.sleep(60)


async def test_a_server_that_never_answers_leaves_the_call_in_doubt():
    assert "in time" in await failure(hangs, InDoubt, total=0.2, connect=0.1)


async def test_a_server_that_drips_its_answer_is_given_up():
    async def answer(writer, heard):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await asyncio.sleep(0.02)

    assert "in time" in await failure(answer, InDoubt, total=0.2, connect=0.1)


async def test_a_port_where_nobody_listens_is_unreachable():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with opened(f"http://127.0.0.1:{held.getsockname()[1]}") as send:
            with pytest.raises(Unreachable, match="cannot connect"):
                await send(POST)


async def test_a_name_that_nobody_knows_is_unreachable(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with opened("https://travis.corp.invalid/api") as send:
        with pytest.raises(Unreachable, match=r"travis\.corp\.invalid: the name cannot be resolved"):
            await send(POST)


async def test_a_name_that_is_none_is_unreachable():
    async with opened(f"https://{'x' * 70}.example") as send:
        with pytest.raises(Unreachable):
            await send(POST)


async def test_a_handshake_that_never_ends_is_unreachable():
    async with served(hangs) as (url, _), opened(url.replace("http:", "https:"), total=5.0, connect=0.2) as send:
        with pytest.raises(Unreachable, match="no connection in time"):
            await send(POST)


async def test_plain_http_behind_https_is_refused_as_tls():
    async def answer(reader, writer):
        writer.write(http(b"{}", "400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, opened(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as send:
        with pytest.raises(AccessRefused, match="no trusted TLS") as caught:
            await send(POST)
        assert caught.value.code == "tls_refused"


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_a_certificate_of_nobody_is_refused_and_nothing_is_sent():
    async with served(always(http(b"{}")), tls=tls()) as (url, heard), opened(url) as send:
        with pytest.raises(AccessRefused, match="self-signed certificate") as caught:
            await send(POST)
        assert caught.value.code == "tls_refused"
        assert heard == []


async def test_a_certificate_of_an_authority_that_was_handed_in_is_trusted():
    async with (
        served(always(http(b'{"a": 1}')), tls=tls()) as (url, _),
        opened(url, ca_file=str(CERTIFICATE)) as send,
    ):
        assert (await send(POST)).body == {"a": 1}


async def test_authorities_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match=f"SSL_CERT_FILE: {path}"):
            async with opened("https://travis.corp.example", ca_file=str(path)):
                raise AssertionError("opened without authorities")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_another_host_is_not_followed(status):
    async with served(always(http(b"{}"))) as (there, strangers):
        redirect = http(b"", status, [f"Location: {there}/elsewhere?token=1"])
        for call, kind in ((GET, AccessRefused), (POST, Rejected)):  # that of a trigger may concern it alone
            said = await failure(always(redirect), kind, call)
            assert "redirect" in said
            assert "elsewhere" not in said
        assert strangers == []


def moves(location, status="307 Temporary Redirect", times=1):
    """Answers with a redirect so many times, then as it should."""

    async def answer(writer, heard):
        to = location.replace("HERE", f"http://127.0.0.1:{writer.get_extra_info('sockname')[1]}")
        is_over = len(heard) > times
        writer.write(http(b'{"a": 1}') if is_over else http(b"moved", status, [f"Location: {to}"]))
        await writer.drain()

    return answer


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("location", ["/api/repo/a%2Fb?x=1", "HERE/api/repo/a%2Fb?x=1", "//HOST/api/repo/a%2Fb?x=1"])
@pytest.mark.parametrize("call", [GET, POST])
async def test_a_redirect_on_the_same_server_is_followed_once_with_method_and_body(location, status, call):
    async def answer(writer, heard):
        host = f"127.0.0.1:{writer.get_extra_info('sockname')[1]}"
        await moves(location.replace("HOST", host), status)(writer, heard)

    found, heard = await sent(answer, call)
    assert (found.status, found.body) == (200, {"a": 1})
    (first, headers, body), (second, again, same) = heard
    assert second == f"{call.method} /api/repo/a%2Fb?x=1 HTTP/1.1"
    assert first.split()[0] == call.method
    assert (again, same) == (headers, body)


@pytest.mark.parametrize(("call", "kind"), [(GET, AccessRefused), (POST, Rejected)])
async def test_a_second_redirect_is_not_followed(call, kind):
    assert "redirect" in await failure(moves("/elsewhere", times=2), kind, call)


@pytest.mark.parametrize(
    ("location", "status"),
    [("/x", "301 Moved"), ("/x", "302 Found"), ("/x", "303 See Other"), ("HERE@a.example/", "307 Temporary Redirect")]
    + [
        (to, "308 Permanent Redirect")
        for to in ("https://127.0.0.1/", "//a.example/x", "", "/a b", "http://u:p@127.0.0.1/")
    ],
)
async def test_no_other_redirect_is_followed(location, status):
    await failure(moves(location, status), Rejected, POST)


@pytest.mark.parametrize("location", ["", "http://[::1", "/\x7f", "https://" + "y" * 5000])
async def test_a_redirect_to_nowhere_is_told_in_few_words(location):
    with pytest.raises(Rejected) as caught:
        await sent(always(http(b"", "302 Found", [f"Location: {location}"])))
    assert caught.value.code == "redirected"
    assert len(str(caught.value)) < 400


async def test_a_token_that_a_server_repeats_is_blotted_out():
    answer, _ = await sent(always(http(f'{{"error_message": "bad token {TOKEN}"}}'.encode())))
    assert answer.body == {"error_message": "bad token ***"}


@pytest.mark.parametrize(
    "answer",
    [closing(), closing(b"nonsense\r\n\r\n"), hangs, always(http(b"", "302 Found", ["Location: https://a.example"]))],
    ids=["closed", "nonsense", "hangs", "redirect"],
)
async def test_no_error_holds_the_token_or_aiohttps_error(answer):
    with pytest.raises(OrchestratorError) as caught:
        await sent(answer, total=0.2, connect=0.1)
    assert TOKEN not in f"{caught.value!r} {caught.value.__dict__}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://travis.corp.example/api", "in the clear"),
        ("ftp://travis.corp.example", "no http URL"),
        ("travis.corp.example", "no http URL"),
        ("https://", "no http URL"),
        ("https://me:pass@travis.corp.example", "credentials"),
        ("https://travis.corp.example/api?x=1", "ends with its path"),
        ("https://travis.corp.example:port/", "no URL"),
        ("https://[::1", "no URL"),
        ("https://travis.corp .example", "no http URL"),
    ],
)
async def test_a_url_that_must_not_be_used_is_refused_before_anything_is_sent(url, words):
    with pytest.raises(UsageError, match=f"account travis: url: .*{words}") as caught:
        async with opened(url):
            raise AssertionError("opened")
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "http://ci.localhost"])
async def test_plain_http_to_this_machine_is_fine(url):
    async with opened(url):
        assert is_loopback(urlsplit(url).hostname)


async def test_plain_http_elsewhere_needs_a_word_of_the_user():
    async with opened("http://travis.corp.example", insecure=True) as send:
        assert callable(send)


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("https://api.travis-ci.com", "", "http://proxy:3128"),
        ("https://api.travis-ci.com", "example.com, travis-ci.com", None),
        ("https://api.travis-ci.com", ".travis-ci.com", None),
        ("https://api.travis-ci.com", "api.travis-ci.com", None),
        ("https://api.travis-ci.com", "*", None),
        ("https://api.travis-ci.com", "ci.com,x", "http://proxy:3128"),
        ("https://api.travis-ci.com", "a.b  Travis-CI.com\tc", None),
        ("https://api.travis-ci.com.", "*.travis-ci.com", None),
        ("https://api.travis-ci.com", "travis-ci.com:443", None),
        ("https://api.travis-ci.com", "travis-ci.com:8443", "http://proxy:3128"),
        ("https://api.travis-ci.com:8443", "x,travis-ci.com:8443", None),
        ("https://10.1.2.3", "10.0.0.0/8", None),
        ("https://10.1.2.3", "10.1.2.3:443", None),
        ("https://10.1.2.3", "11.0.0.0/8,10.1.2.4,10.1.2.3/33", "http://proxy:3128"),
        ("https://[fd00::7]", "fd00::/8", None),
        ("https://[fd00::7]:8443", "[fd00::7]:8443", None),
        ("https://[fd00::7]", "[fd00::7]:8443 . : /", "http://proxy:3128"),
        ("https://127.0.0.1:1", "", None),
        ("http://travis.corp.example", "", None),
    ],
)
def test_the_proxy_is_used_for_https_unless_the_host_is_exempt(url, no_proxy, proxy):
    proxies = Proxies.of({"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy})
    assert proxies.to(urlsplit(url)) == proxy


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"ALL_PROXY": "http://all:1"}, "http://all:1"),
        ({"all_proxy": "http://all:1", "HTTPS_PROXY": "http://only:2 "}, "http://only:2"),
        ({"https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:2"}, "http://small:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "HTTPS://large:2"}, "HTTPS://large:2"),
        ({"HTTP_PROXY": "http://other:1"}, None),
    ],
)
def test_the_proxy_is_that_of_the_scheme_else_that_of_all(environ, proxy):
    assert Proxies.of(environ).to(urlsplit("https://api.travis-ci.com")) == proxy
    assert Proxies.of({"http_proxy": "p"}).to(urlsplit("http://travis.corp.example")) == "http://p"


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "SOCKS4", "ftp"])
async def test_a_kind_of_proxy_that_is_not_supported_is_refused_in_words(kind):
    proxies = Proxies.of({"ALL_PROXY": f"{kind}://me:pw@proxy:1080"})
    with pytest.raises(UsageError, match=rf"proxies of the kind {kind}:// are not supported") as caught:
        async with opened("https://travis.corp.example", proxies=proxies):
            pass
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["http://", "http:///path", "proxy:port", "http://proxy:99999", "http://[::1"])
async def test_a_proxy_that_is_no_url_is_refused_in_words(proxy):
    with pytest.raises(UsageError, match="the proxy's URL is not valid; correct HTTPS_PROXY"):
        async with opened("https://travis.corp.example", proxies=Proxies(https=proxy)):
            pass


def test_without_a_proxy_there_is_none_and_a_proxy_does_not_print():
    assert Proxies.of({}).to(urlsplit("https://api.travis-ci.com")) is None
    assert "pw" not in repr(Proxies.of({"https_proxy": "http://me:pw@proxy:1"}))


async def test_a_proxy_that_refuses_leaves_the_host_unreachable():
    async with served(always(http(b"", "407 Proxy Authentication Required"))) as (url, heard):
        proxies = Proxies(https=url.replace("//", "//me:pw@"))
        async with opened("https://travis.corp.example", proxies=proxies) as send:
            with pytest.raises(Unreachable, match="the proxy answers HTTP 407; check HTTPS_PROXY") as caught:
                await send(POST)
        line, headers, _ = heard[0]
        assert line.startswith("CONNECT travis.corp.example:443")
        assert "Authorization" not in dict(headers)
        assert "pw" not in str(caught.value)


async def test_a_proxy_where_nobody_listens_is_named():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        proxies = Proxies(https=f"http://127.0.0.1:{held.getsockname()[1]}")
        async with opened("https://travis.corp.example", proxies=proxies) as send:
            with pytest.raises(Unreachable, match="the proxy cannot be reached; check HTTPS_PROXY"):
                await send(POST)


@asynccontextmanager
async def tunnel(to, tls=None):
    """A proxy on whose CONNECT everything goes to the server at `to`; yields its URL and the lines that it heard."""
    heard = []

    async def pump(reader, writer):
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
        there = await asyncio.open_connection("127.0.0.1", urlsplit(to).port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@pytest.mark.parametrize("over_tls", [False, True])
async def test_a_proxy_leads_to_the_host_also_where_it_speaks_tls_itself(over_tls):
    async with (
        served(always(http(b'{"a": 1}')), tls=tls()) as (url, _),
        tunnel(url, tls() if over_tls else None) as (proxy, heard),
        opened("https://travis.corp.example", proxies=Proxies(https=proxy), ca_file=str(CERTIFICATE)) as send,
    ):
        assert [(await send(POST)).body, (await send(POST)).body] == [{"a": 1}] * 2
    assert heard == ["CONNECT travis.corp.example:443 HTTP/1.1"]


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (b"", Unreachable, "no connection in time"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", AccessRefused, "no trusted TLS connection"),
    ],
)
async def test_a_proxy_that_is_said_to_speak_tls_and_does_not_is_named(answer, kind, told):
    async def serve(reader, writer):
        writer.write(answer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        proxies = Proxies(https=f"https://me:pw@{at}")
        async with opened("https://travis.corp.example", proxies=proxies, connect=0.2) as send:
            with pytest.raises(kind, match=rf"travis.corp.example \(through the proxy {at}\): {told}"):
                await send(POST)


READ = Call("GET", "/repos/acme/old", repo="acme/old")
LOG = Call("GET", "/jobs/7/logs", at_most=20, leaves=True)


async def test_a_read_about_a_repository_that_was_renamed_is_followed_on_the_same_server():
    found, heard = await sent(moves("/repositories/7", "301 Moved Permanently"), READ)
    assert (found.body, found.is_moved) == ({"a": 1}, True)
    assert [line.split()[1] for line, _, _ in heard] == ["/repos/acme/old", "/repositories/7"]
    assert "redirect" in await failure(moves("https://a.example/x", "301 Moved Permanently"), AccessRefused, READ)
    assert "redirect" in await failure(moves("/elsewhere", "301 Moved Permanently"), AccessRefused, GET)


async def test_a_trigger_follows_a_301_where_its_service_means_it_so_with_method_and_body():
    call = replace(POST, moves=True)
    found, heard = await sent(moves("/projects/7/pipeline", "301 Moved Permanently"), call)
    assert (found.body, found.is_moved) == ({"a": 1}, True)
    (first, _, body), (second, _, again) = heard
    assert (first.split()[0], second, again) == ("POST", "POST /projects/7/pipeline HTTP/1.1", body)
    await failure(moves("https://a.example/x", "301 Moved Permanently"), Rejected, call)
    await failure(moves("/elsewhere", "301 Moved Permanently", times=2), Rejected, call)


async def test_a_log_that_is_kept_elsewhere_is_read_without_the_token():
    async with served(always(http(b"x" * 100, headers=["Content-Type: text/plain"]))) as (there, strangers):
        redirect = http(b"", "302 Found", [f"Location: {there}/blob?sig=a%2Fb%3D"])
        found, heard = await sent(always(redirect), LOG)
    assert (found.status, found.body) == (200, "x" * 20)
    [(line, headers, _)] = strangers
    assert line == "GET /blob?sig=a%2Fb%3D HTTP/1.1"
    assert not {"authorization", "travis-api-version"} & {name.lower() for name, _ in headers}
    assert TOKEN not in str(headers)
    assert len(heard) == 1


@pytest.mark.parametrize("there", ["http://a.example/x", "file:///etc/passwd", "https://u:p@127.0.0.1/x", "//[::1"])
async def test_a_log_is_not_read_from_an_address_that_is_not_safe(there):
    await failure(always(http(b"", "302 Found", [f"Location: {there}"])), (InDoubt, AccessRefused), LOG)


async def test_only_what_may_leave_does():
    redirect = always(http(b"", "302 Found", ["Location: http://127.0.0.1:9/x"]))
    await failure(redirect, AccessRefused, replace(LOG, leaves=False))
    await failure(redirect, Rejected, replace(POST, leaves=True))


async def test_a_known_tag_is_sent_and_an_answer_that_nothing_changed_is_one():
    found, heard = await sent(always(http(b"", "304 Not Modified", ['ETag: W/"1"'])), replace(GET, etag='W/"1"'))
    assert (found.status, found.body) == (304, "")
    assert dict(heard[0][1])["If-None-Match"] == 'W/"1"'
    assert "redirect" in await failure(always(http(b"", "304 Not Modified")), AccessRefused, GET)


async def test_a_path_beside_the_accounts_own_stands_below_the_host():
    async with served(always(http(b"{}"))) as (url, heard), opened(f"{url}/api/v3") as send:
        await send(Call("POST", "/api/graphql", body={}, beside=True))
        await send(Call("GET", "/user"))
    assert [line.split()[1] for line, _, _ in heard] == ["/api/graphql", "/api/v3/user"]


async def test_a_redirect_that_is_the_answer_is_shown_and_any_other_is_refused():
    call = replace(POST, redirects=r"/queue/item/\d+/$")
    found, heard = await sent(moves("https://ci.invalid/queue/item/7/", "303 See Other"), call)
    assert (found.status, found.headers["location"], len(heard)) == (303, "https://ci.invalid/queue/item/7/", 1)
    await failure(moves("https://ci.invalid/login?from=/queue/item/7/x", "303 See Other"), Rejected, call)
    await failure(moves("https://ci.invalid/queue/item/7/", "303 See Other"), Rejected, POST)


async def test_a_form_is_sent_as_one():
    _, [(_, headers, body)] = await sent(
        always(http(b"{}")), replace(POST, body={"a b": "1&2", "c": "\u00fc"}, form=True)
    )
    assert b"a+b=1%262&c=%C3%BC" in (body if isinstance(body, bytes) else body.encode())
    assert "application/x-www-form-urlencoded" in str(headers)
