"""Who may ask: settled for every request before anything else.

Over the Unix socket, whoever the kernel lets connect. Over TCP:

    Host      names this machine's loopback, or one of allow-hosts: a page whose own name was made to lead
              here (DNS rebinding) has that name there, and is refused
    Origin    where a browser sends it, is this machine's, or one of allow-origins
    secret    as ``Authorization: Bearer``, or as ``?token=`` where a browser opens a WebSocket; compared in
              a time that tells nothing. A preflight (CORS) has none, and gets no more than headers;
              nor has a browser that loads the dashboard's files, which are everybody's
"""

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

from tunproxy.control.clash.asking import RefusedError
from tunproxy.control.clash.listening import Access
from tunproxy.control.clash.refusals import Refusal, refused
from tunproxy.control.questions import NoAnswerError

METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
HEADERS: Final = "Content-Type, Authorization"
PREFLIGHT_SECONDS: Final = "300"
OPEN: Final = "open-"  # how the names of routes begin that need no secret
ROOT: Final = "root"  # the name of the one that needs none of a browser, which it sends elsewhere


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """access None lets nobody in over TCP."""

    def __init__(self, access: Access | None) -> None:
        self._access: Final = access

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or refuse it; whatever is wrong becomes a message."""
        try:
            if is_tcp(request):
                self._check_place(request)
                if request.method == "OPTIONS":
                    return web.Response()
                if not is_open(request):
                    self._check_secret(request)
            return await handler(request)
        except Refusal as refusal:
            return refused(refusal)
        except RefusedError as error:
            return refused(Refusal(400, str(error)))
        except NoAnswerError as error:
            return refused(Refusal(503, str(error)))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            words = "Resource not found" if error.status == 404 else error.reason
            answer = refused(Refusal(error.status, words))
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say in an answer that the page that asks may read it, where it may."""
        if not is_tcp(request):
            return
        response.headers["Vary"] = ", ".join((*response.headers.getall("Vary", ()), "Origin"))
        origin = request.headers.get("Origin")
        if origin is None or not self._is_allowed(origin):
            return
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = METHODS
            response.headers["Access-Control-Allow-Headers"] = HEADERS
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
            response.headers["Access-Control-Allow-Private-Network"] = "true"

    def _check_place(self, request: web.Request) -> None:
        access = self._access
        hosts = request.headers.getall("Host", [])
        if access is None or len(hosts) != 1:
            raise Refusal(403, "Forbidden")
        name = host_name(f"//{hosts[0]}")
        if not is_loopback(name) and name not in {each.lower() for each in access.hosts}:
            raise Refusal(403, f"Forbidden: {name or 'nobody'} is no name of this API (allow-hosts)")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_allowed(origin) and not is_page_of(hosts[0], origin):
            raise Refusal(403, "Forbidden: this page may not ask (allow-origins)")

    def _is_allowed(self, origin: str) -> bool:
        access = self._access
        if access is None:
            return False
        if any(origin.lower() == each.lower().rstrip("/") for each in access.origins):
            return True
        return origin.startswith(("http://", "https://")) and is_loopback(host_name(origin))

    def _check_secret(self, request: web.Request) -> None:
        assert self._access is not None
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = ""
        if not given and request.headers.get("Upgrade", "").lower() == "websocket":
            given = _token(request.rel_url.raw_query_string)
        wanted = self._access.secret.reveal().encode()
        if not wanted or not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted):
            raise Refusal(401, "Unauthorized")


def is_tcp(request: web.Request) -> bool:
    """Tell whether a request came over TCP; what cannot be told did."""
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    return sock is None or sock.family != socket.AF_UNIX


def is_open(request: web.Request) -> bool:
    """Tell whether a request is answered without the secret: for the dashboard's files, or a way to them."""
    name = request.match_info.route.name or ""
    return name.startswith(OPEN) or (name == ROOT and wants_page(request))


def wants_page(request: web.Request) -> bool:
    """Tell whether a person asks, with a browser, and not a program."""
    return "text/html" in request.headers.get("Accept", "")


def is_page_of(host: str, origin: str) -> bool:
    """Tell whether a page is one of ours, of the host that it asks, whose name has been checked."""
    kind, _, place = origin.lower().partition("://")
    return kind in ("http", "https") and place == host.lower()


def host_name(url: str) -> str:
    """Return the host in a URL, in lower case, "" where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Tell whether a host's name is of this machine's loopback whatever a resolver says."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _token(query: str) -> str:
    """Return the token in a query as it came; a plus is a plus."""
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "token":
            return unquote(value)
    return ""
