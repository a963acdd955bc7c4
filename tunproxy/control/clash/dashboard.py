"""The dashboard at ``/ui/``, open to whoever may connect, as it knows nothing without the secret.

A page of it may ask us, by the names that this machine has for itself, and nobody else: no font, picture or
list of versions is fetched from anywhere (Content-Security-Policy). Nor may another page show it in a frame,
where clicks could be stolen. It gets no service worker: that would stay in the browser, and answer in place
of whatever listens at this port when we are gone.
"""

import hashlib
from typing import Any, Final  # Any: documents
from urllib.parse import quote, urlencode, urlsplit

from aiohttp import web

from tunproxy.control.clash.dashboard_files import (
    INDEX,
    DashboardFiles,
    File,
    NoDashboardError,
    content_type_of,
    inline_scripts,
    load_installed,
    with_script,
)
from tunproxy.control.clash.guard import OPEN, host_name, is_loopback, is_tcp
from tunproxy.control.clash.listening import Listening
from tunproxy.control.clash.refusals import Refusal, answer, not_found

SCRIPT: Final = "tunproxy.js"
# Our choices. What asks others gets no answer here; the globe would have a processor draw it all the time.
_SCRIPT: Final = """\
// Put in front of the dashboard by tunproxy: what it does until its user wants something else. It asks nobody
// but tunproxy, so that cards stay away that show what others say.
const cards = (names, visible) => names.map((card) => ({ card, visible }))
const settings = {
  'auto-ip-check': false,
  'auto-connection-check': false,
  'auto-upgrade': false,
  'check-upgrade-core': false,
  'connection-table-columns': [
    ...['close', 'host', 'process', 'type', 'rule', 'chains'],
    ...['dlSpeed', 'ulSpeed', 'dl', 'ul', 'connectTime'],
  ],
  'hidden-settings-items': Object.fromEntries(
    ['restartCore', 'updateConfigs', 'updateGeoDatabase', 'ports', 'allowLan', 'tunMode'].map(
      (item) => ['backendSettings.' + item, true], // what tunproxy refuses
    ),
  ),
  'independent-latency-test': true, // with the URL that the configuration has for a group
  'overview-card-order': [
    ...cards(['ChartsCard', 'RuleHitCountCard', 'TopologyCharts', 'ConnectionHistory'], true),
    ...cards(['ProviderTrafficOverview', 'HonkStatsCard'], true),
    ...cards(['NetworkCard', 'EarthGlobeCard'], false),
  ],
  'rule-display-style': 'table', // which has hits and misses
}
for (const [key, value] of Object.entries(settings)) {
  const name = 'config/' + key
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  if (localStorage.getItem(name) === null) localStorage.setItem(name, text)
}
// An address of tunproxy ui, opened where the dashboard is already, changes only what stands behind the #.
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#/setup?hostname=')) location.reload()
})
"""
NO_PORT: Final = (
    'there is no TCP port for browsers (write listen = "127.0.0.1:9090" in [api], and start it again)'
)
_LASTS: Final = "private, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Dashboard:
    """Handlers. tun is the device's name; listening is the TCP port, None for none."""

    def __init__(self, tun: str, listening: Listening | None) -> None:
        self._tun: Final = tun
        self._listening: Final = listening
        self._files: DashboardFiles | None = None
        self._scripts: list[str] = []  # hashes of those in the page
        self._added: Final[dict[str, tuple[File, bytes]]] = {}  # what is ours, by path

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/ui", self._to_folder, name=f"{OPEN}folder")
        router.add_get("/ui/{path:.*}", self._file, name=f"{OPEN}files")
        router.add_get("/dashboard", self._address)

    async def _to_folder(self, request: web.Request) -> web.Response:
        return to_dashboard()

    async def _file(self, request: web.Request) -> web.Response:
        path = request.match_info["path"] or INDEX
        try:
            files = self._loaded()
        except NoDashboardError as error:
            raise Refusal(404, str(error)) from error
        found = self._added.get(path)
        facts = found[0] if found is not None else files.look(path)
        if facts is None:
            raise not_found()
        headers = {
            **_HEADERS,
            "Content-Security-Policy": policy_of(request.headers.get("Host", ""), self._scripts),
            "Cache-Control": _LASTS if facts.lasts else _ASK_AGAIN,
            "ETag": facts.tag,
            "Vary": "Accept-Encoding",
        }
        if facts.tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = facts.content_type
        if found is not None:
            return web.Response(body=found[1], headers=headers)
        body = files.zipped(path) if _takes_gzip(request) else None
        if body is not None:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=files.content(path) if body is None else body, headers=headers)

    async def _address(self, request: web.Request) -> web.Response:
        """Tell whoever may use the control socket where the dashboard is, with the secret."""
        if is_tcp(request):
            raise not_found()
        if self._listening is None:
            return answer({"error": NO_PORT})
        try:
            self._loaded()
        except NoDashboardError as error:
            return answer({"error": str(error)})
        return answer({"url": address_of(self._listening, self._tun)})

    def _loaded(self) -> DashboardFiles:
        """Return the files; raises NoDashboardError."""
        if self._files is None:
            files = load_installed()
            page = files.content(INDEX)
            self._scripts = inline_scripts(page)
            for name, content in ((INDEX, with_script(page, f"./{SCRIPT}")), (SCRIPT, _SCRIPT.encode())):
                tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                self._added[name] = File(content_type_of(name), tag, lasts=False), content
            self._files = files
        return self._files


def to_dashboard() -> web.Response:
    """Return the answer that leads a browser from ``/`` or ``/ui`` to the dashboard, also behind a proxy."""
    return web.Response(status=307, headers={"Location": "ui/"})


def policy_of(host: str, scripts: list[str]) -> str:
    """Return what a page may do (CSP level 3); host is whom it was asked of, scripts are hashes.

    Loopback has several names, and one port is one of us under all of them.
    """
    asked = ["'self'"]
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = 0
    port = 80 if port is None else port
    if port and is_loopback(host_name(f"//{host}")):
        asked += [f"{kind}://{name}:{port}" for kind in ("http", "ws") for name in ("127.0.0.1", "localhost")]
    parts = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *(f"'{each}'" for each in scripts)]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": " ".join(asked),
        "manifest-src": "'self'",
        "worker-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def address_of(listening: Listening, name: str) -> str:
    """Return the dashboard's address with what it has to know, the secret included.

    That stands behind the #: a browser tells it to nobody.
    """
    host, port = listening.listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    known: dict[str, Any] = {
        "hostname": host,
        "port": port,
        "secret": listening.access.secret.reveal(),
        "label": name,
        "disableUpgradeCore": 1,
        "disableTunMode": 1,
    }
    return f"http://{host}:{port}/ui/#/setup?{urlencode(known, quote_via=quote)}"


def _takes_gzip(request: web.Request) -> bool:
    """Tell whether an answer may be packed (RFC 9110 §12.5.3)."""
    for offer in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, weight = offer.partition(";")
        if name.strip() == "gzip":
            return weight.strip().rstrip("0.") != "q="
    return False
