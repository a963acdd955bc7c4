"""Looking through an upstream: how long a request takes, and what the upstream can carry."""

import asyncio
import errno
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tunproxy.errors import OptionError, UpstreamError
from tunproxy.flow.verdict import DIAL, FlowInfo
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream, Upstream
from tunproxy.upstream.datagrams import DatagramUpstream
from tunproxy.upstream.failures import learn_from
from tunproxy.upstream.knowledge import IPV6, NAMES, TCP, UDP
from tunproxy.upstream.tls import start_tls

# our choices
TEST_URL: Final = "http://www.gstatic.com/generate_204"  # what every such program asks for
TEST_TIMEOUT: Final = 5.0  # seconds
IPV6_TARGET: Final = ("2001:4860:4860::8888", 53)  # of the same people as the URL's: nobody else hears of us
MAX_HEAD: Final = 16_384  # octets of an answer before its first line is over

Expected = int | frozenset[int]  # the status that an answer must have, 0 for any; or all that will do

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})\b[^\n]*\n")
_CLIENT: Final = bytes(4)  # nobody's address


@dataclass(frozen=True)
class Url:
    """A URL to test with, taken apart; raises OptionError where it cannot be one."""

    text: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.text)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good or not self.text.isascii() or any(char <= " " for char in self.text):
            raise OptionError(f"cannot test with the URL {self.text!r}: it must be like {TEST_URL}", "url")

    @property
    def is_tls(self) -> bool:
        return self.text.startswith("https:")

    @property
    def host(self) -> str:
        return urlsplit(self.text).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.text).port or (443 if self.is_tls else 80)

    @property
    def request(self) -> bytes:
        """A request for the head of the page."""
        parts = urlsplit(self.text)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = (
            f"HEAD {path} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "User-Agent: tunproxy",
            "Connection: close",
            "\r\n",
        )
        return "\r\n".join(lines).encode()


async def fetch(
    upstream: Upstream, url: str, dialer: Dialer, *, expected: Expected = 0, tls: ssl.SSLContext | None = None
) -> float:
    """Ask for url through upstream; return how long it took until the answer began, in seconds.

    expected is the status that the answer must have, or several, 0 for any. tls checks the server's
    certificate where the URL wants it; what the system trusts, unless given. Raises what opening raises,
    OpenError for an answer that is none, and ssl.SSLError. There is no time limit here.
    """
    where = Url(url)
    loop = asyncio.get_running_loop()
    began = loop.time()
    opened = await open_through(upstream, where.host, where.port, dialer)
    try:
        codec = opened.codec
        if where.is_tls:
            context = tls or ssl.create_default_context()
            codec = await start_tls(opened.sock, context, where.host, under=codec, early=opened.rest)
        words = where.request
        await loop.sock_sendall(opened.sock, words if codec is None else codec.encode(words) + codec.flush())
        head = b"" if where.is_tls else opened.rest
        while (found := _STATUS_LINE.match(head)) is None:
            if not b"HTTP/1.".startswith(head[:7]) or len(head) > MAX_HEAD:
                raise OpenError(f"no answer of a web server: it began with {head[:16]!r}")
            data = await loop.sock_recv(opened.sock, 4096)
            if not data:
                raise OpenError("the stream ended before an answer came")
            head += data if codec is None else codec.decode(data)
        status = int(found[1])
        if isinstance(expected, int):
            if expected and status != expected:
                raise OpenError(f"the answer has status {status} instead of {expected}")
        elif status not in expected:
            raise OpenError(f"the answer has status {status}, which is none of those expected")
    finally:
        opened.sock.close()
    upstream.knowledge.learn(TCP, True, "probed")
    return loop.time() - began


async def open_through(upstream: Upstream, host: str, port: int, dialer: Dialer) -> Opened:
    """Open a TCP connection to host, an address or a name, as a flow would be; raises as upstreams do.

    A name is left to the upstream where that resolves names, else looked up here.
    """
    target = _packed(host)
    info = FlowInfo("tcp", _CLIENT, 0, target or bytes(4), port, "" if target else host)
    verdict = upstream.verdict_for(info, "test")
    opener = verdict.opener
    if verdict.kind == DIAL:
        sock = await dialer.connect(verdict.address or host, int(verdict.port) or port)
        return Opened(sock)
    if not isinstance(opener, OpenUpstream):
        raise OpenError(f"nothing leads through {verdict}")
    if not target and opener.knowledge.has(NAMES) is not True:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        target = _packed(str(found[0][4][0]))
        info = FlowInfo("tcp", _CLIENT, 0, target, port, host)
    answer = await opener.open(info, dialer)
    return answer if isinstance(answer, Opened) else Opened(answer)


async def explore(
    upstream: Upstream,
    dialer: Dialer,
    *,
    ipv6_target: tuple[str, int] | None = IPV6_TARGET,
    time_limit: float = TEST_TIMEOUT,
) -> None:
    """Find out whether upstream carries UDP and reaches IPv6, as far as that is not declared.

    What remains unclear stays unknown. time_limit is in seconds, for each question. Whether there is UDP only
    the upstream itself is asked; with an ipv6_target somebody beyond it hears of us.
    """
    if isinstance(upstream, DatagramUpstream) and not _is_declared(upstream, UDP):
        if not upstream.is_per_target:  # else it would have to lead to somebody
            await _try_udp(upstream, dialer, time_limit)
    if ipv6_target is not None and not _is_declared(upstream, IPV6):
        await _try_ipv6(upstream, dialer, ipv6_target, time_limit)


async def _try_udp(upstream: DatagramUpstream, dialer: Dialer, time_limit: float) -> None:
    assert isinstance(upstream, Upstream)
    info = FlowInfo("udp", _CLIENT, 0, bytes(4), 0)
    try:
        async with asyncio.timeout(time_limit):
            way = await upstream.open_datagrams(info, dialer)
    except (OSError, UpstreamError, EOFError) as error:
        learn_from(upstream, error, "probed")
        return
    way.close()
    upstream.knowledge.learn(UDP, True, "probed")


async def _try_ipv6(upstream: Upstream, dialer: Dialer, target: tuple[str, int], time_limit: float) -> None:
    try:
        async with asyncio.timeout(time_limit):
            opened = await open_through(upstream, *target, dialer)
    except (OpenError, EOFError) as error:
        learn_from(upstream, error, "probed")
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT):
            upstream.knowledge.learn(IPV6, False, "probed")
    else:
        opened.sock.close()
        upstream.knowledge.learn(IPV6, True, "probed")


def _is_declared(upstream: Upstream, ability: str) -> bool:
    fact = upstream.knowledge.fact(ability)
    return fact is not None and fact.how == "declared"


def _packed(host: str) -> bytes:
    """Return host as a packed address, b"" where it is a name."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return b""
