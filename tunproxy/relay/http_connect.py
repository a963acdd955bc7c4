"""HTTP/1.1 as a proxy hears it: CONNECT (RFC 9110 §9.3.6), and the upgrade to connect-udp (RFC 9298 §3)."""

import base64
import re
from typing import Final
from urllib.parse import unquote

import h11

from tunproxy.relay.failures import BAD, LOGIN, UNSUPPORTED, RequestFailed
from tunproxy.relay.requests import CONNECT, CONNECT_UDP, Request
from tunproxy.relay.stream import Stream
from tunproxy.relay.users import ANONYMOUS, Users

# our choices
MAX_HEAD: Final = 16_384
REALM: Final = "tunproxy"

_AUTHORITY: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@\s]+)):([0-9]{1,5})")
# What most clients send, and the library reads no other way: a complete head of CONNECT in ASCII, without
# folded lines, in which no field stands twice and none speaks of a body.
_PLAIN: Final = re.compile(
    rb"CONNECT ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t -~]*\r\n)+)\r\n"
)
_OF_BODIES: Final = frozenset(("content-length", "transfer-encoding"))
_UDP_PATH: Final = re.compile(r"(?:https?://[^/]+)?/\.well-known/masque/udp/([^/]+)/([0-9]{1,5})/?")


class HttpHead:
    """A request's head: what it asks for, and its fields by their names in lower case."""

    def __init__(self, method: str, target: str, fields: dict[str, str]) -> None:
        self.method: Final = method
        self.target: Final = target
        self.fields: Final = fields


async def read_head(stream: Stream) -> HttpHead:
    """Read a request's head; what follows it stays in stream.rest. Raises RequestFailed, HungUp."""
    plain = plain_head(stream.rest)
    if plain is not None:
        head, stream.rest = plain
        return head
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    while True:
        data, stream.rest = stream.rest, b""
        try:
            if data:
                machine.receive_data(data)
            event = machine.next_event()
            if isinstance(event, h11.Request):
                after = machine.next_event()
                if not isinstance(after, h11.EndOfMessage):
                    raise RequestFailed(BAD, "a request with a body cannot become a tunnel")
                stream.rest = _rest_of(machine)
                return HttpHead(event.method.decode(), event.target.decode("latin-1"), _fields(event))
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                why = f"the head has more than {MAX_HEAD} octets"
                raise RequestFailed(BAD, why, http_status="431 Request Header Fields Too Large") from error
            raise RequestFailed(BAD, str(error)) from error
        if event is not h11.NEED_DATA:
            raise RequestFailed(BAD, "that is no request")
        await stream.more()


def plain_head(data: bytes) -> tuple[HttpHead, bytes] | None:
    """Return the head that data begins with, and the rest; None where that is for the library to tell."""
    found = _PLAIN.match(data)
    if found is None:
        return None
    fields: dict[str, str] = {}
    for line in found[2].decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        key = name.lower()
        if key in fields or key in _OF_BODIES:
            return None
        fields[key] = value.strip(" \t")
    if "host" not in fields:
        return None
    return HttpHead("CONNECT", found[1].decode("ascii"), fields), data[found.end() :]


async def understand(head: HttpHead, users: Users) -> Request:
    """Return what a head asks for, once its user has been checked. Raises RequestFailed."""
    user = await _log_in(head.fields.get("proxy-authorization", ""), users)
    codecs = head.fields.get("tunnel-codecs", "")
    if head.method == "CONNECT":
        found = _AUTHORITY.fullmatch(head.target)
        if found is None:
            raise RequestFailed(BAD, "the target of CONNECT is host:port")
        return Request(CONNECT, "http", found[1] or found[2], int(found[3]), user, codecs)
    if head.method == "GET" and head.fields.get("upgrade", "").lower() == "connect-udp":
        path = _UDP_PATH.fullmatch(head.target)
        if path is None:
            raise RequestFailed(BAD, "the path of connect-udp is /.well-known/masque/udp/HOST/PORT/")
        if "upgrade" not in head.fields.get("connection", "").lower():
            raise RequestFailed(BAD, "Upgrade without Connection: Upgrade")
        return Request(CONNECT_UDP, "connect-udp", unquote(path[1]), int(path[2]), user)
    raise RequestFailed(
        UNSUPPORTED, "this proxy makes tunnels only: CONNECT", http_status="405 Method Not Allowed"
    )


async def _log_in(field: str, users: Users) -> str:
    """Return the user that Proxy-Authorization names (RFC 7617)."""
    if users.is_empty:
        return ANONYMOUS
    kind, _, token = field.partition(" ")
    if kind.lower() != "basic":
        raise RequestFailed(LOGIN, "user and password are needed")
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, no ASCII, no UTF-8
        raise RequestFailed(LOGIN, "that is no user and password") from None
    if not colon or not await users.check(name, password):
        raise RequestFailed(LOGIN, f"wrong user or password (user {name[:64]!r})")
    return name


def granted(request: Request, codec: str = "") -> bytes:
    """Return the answer behind which the tunnel begins; codec is the one that was chosen."""
    if request.command == CONNECT_UDP:
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"
            b"Capsule-Protocol: ?1\r\n\r\n"
        )
    field = f"Tunnel-Codec: {codec}\r\n" if codec else ""
    return f"HTTP/1.1 200 Connection established\r\n{field}\r\n".encode()


def refused(failure: RequestFailed) -> bytes:
    """Return the answer to a request that is not fulfilled."""
    words = "wrong user or password" if failure.kind == LOGIN else str(failure)
    body = f"{words}\n".encode("ascii", "replace")
    fields = ["Content-Type: text/plain", f"Content-Length: {len(body)}", "Connection: close"]
    if failure.kind == LOGIN:
        fields.append(f'Proxy-Authenticate: Basic realm="{REALM}", charset="UTF-8"')
    if failure.http_status.startswith("405"):
        fields.append("Allow: CONNECT")
    reason = f"Proxy-Status: {REALM}; details={quoted(words)}"  # RFC 9209
    head = "\r\n".join([f"HTTP/1.1 {failure.http_status}", *fields, reason, "", ""])
    return head.encode("ascii", "replace") + body


def quoted(words: str) -> str:
    """Return words as a string of a structured field (RFC 8941 §3.3.3)."""
    plain = "".join(each if " " <= each <= "~" else "?" for each in words)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fields(event: h11.Request) -> dict[str, str]:
    """Return the fields; those that stand there twice are joined (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _rest_of(machine: h11.Connection) -> bytes:
    return bytes(machine.trailing_data[0])
