"""Who we are, the configuration as far as Clash has words for it, and what we refuse.

A configuration is changed where it stands, and read again here. Its path and its text are never taken from a
caller; nor do we replace ourselves, or files of rules, by what somebody else offers.
"""

import gc
from collections.abc import Mapping
from typing import Any, Final  # Any: documents

from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.dashboard import to_dashboard
from tunproxy.control.clash.guard import ROOT, wants_page
from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, body_of, done, not_found
from tunproxy.control.config.schema import Config
from tunproxy.control.helm.wishes import MODES, Wishes
from tunproxy.control.reload import Reloader, ReloadError
from tunproxy.version import describe

LEVELS: Final = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "fatal": "error",
    "panic": "error",
    "silent": "silent",
}
API: Final = "API"  # who has asked for a reload
REFUSED: Final = (
    ("POST", "/restart", "restart it with tunproxy, or with systemctl restart tunproxy"),
    ("POST", "/upgrade", "upgrade it as you have installed it"),
    ("POST", "/upgrade/ui", "upgrade it as you have installed it: pip install -U 'tunproxy[dashboard]'"),
    ("POST", "/upgrade/geo", "update them with tunproxy rules update; they are read when they are saved"),
)


class Basics:
    """Handlers of what is about tunproxy as a whole. tun is the device's name."""

    def __init__(self, asking: Asking, reloader: Reloader, wishes: Wishes, tun: str) -> None:
        self._asking: Final = asking
        self._reloader: Final = reloader
        self._wishes: Final = wishes
        self._tun: Final = tun
        self.log_level = "info"

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._hello, name=ROOT)
        router.add_get("/version", self._version)
        router.add_get("/configs", self._configs)
        router.add_put("/configs", self._reload)
        router.add_patch("/configs", self._change)
        router.add_post("/configs/geo", _refuse(400, REFUSED[-1][2]))
        router.add_put("/debug/gc", self._collect)
        router.add_get("/debug/pprof{rest:.*}", self._profile)
        for method, path, why in REFUSED:
            router.add_route(method, path, _refuse(501, f"not supported: {why}"))

    async def _collect(self, request: web.Request) -> web.Response:
        self._check_debugging()
        gc.collect()
        return done()

    async def _profile(self, request: web.Request) -> web.Response:
        self._check_debugging()
        raise Refusal(501, "not supported: this is no program in Go (GET /metrics has what workers use)")

    def _check_debugging(self) -> None:
        """Raise Refusal unless the log level is debug: else Clash has none of this."""
        if self.log_level != "debug":
            raise not_found()

    async def _hello(self, request: web.Request) -> web.Response:
        return to_dashboard() if wants_page(request) else answer({"hello": "clash"})

    async def _version(self, request: web.Request) -> web.Response:
        return answer({"meta": True, "version": describe()})

    async def _configs(self, request: web.Request) -> web.Response:
        return answer(self._document())

    def _document(self) -> dict[str, Any]:
        return document_of(self._reloader.sources.config, self._tun, self._wishes.mode, self.log_level)

    async def _reload(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        if body.get("path"):
            raise Refusal(400, "path is not accepted: the configuration is read from where it is")
        if body.get("payload"):
            raise Refusal(400, "payload is not accepted: edit the configuration where it is")
        if set(body) - {"path", "payload"}:  # as some write who mean PATCH
            return await self._take(body)
        try:
            await self._reloader.reload(API)
        except ReloadError as error:
            raise Refusal(400, str(error)) from error
        return done()

    async def _change(self, request: web.Request) -> web.Response:
        return await self._take(await body_of(request))

    async def _take(self, body: Mapping[str, Any]) -> web.Response:
        """Change what can be changed; nothing, where something cannot."""
        wanted = dict(body)
        mode, level = wanted.pop("mode", None), wanted.pop("log-level", None)
        if mode is not None and not (isinstance(mode, str) and mode.lower() in MODES):
            raise body_invalid()
        if level is not None and not (isinstance(level, str) and level.lower() in LEVELS):
            raise body_invalid()
        now = self._document()
        others = [key for key, value in wanted.items() if not _is_same(value, now.get(key))]
        if others:
            names = ", ".join(sorted(others))[:200]
            raise Refusal(400, f"cannot be changed here: {names} (edit the configuration)")
        if level is not None:
            self.log_level = LEVELS[level.lower()]
        if mode is not None:
            await self._asking.each("helm-mode", {"mode": mode.lower()})
            self._wishes.mode = mode.lower()
            self._wishes.on_change()
        return done()


def _is_same(wanted: Any, now: Any) -> bool:
    """Tell whether what is wanted is so already."""
    if isinstance(wanted, dict) and isinstance(now, dict):
        return all(_is_same(value, now.get(key)) for key, value in wanted.items())
    return bool(wanted == now)


def _refuse(status: int, why: str) -> Any:
    async def refuse(request: web.Request) -> web.Response:
        raise Refusal(status, why)

    return refuse


def document_of(config: Config, tun: str, mode: str, log_level: str) -> dict[str, Any]:
    """Return the configuration as Clash shows its own; what we have not is as it is there without it."""
    takes_names = config.dns.mode != "off"
    return {
        "port": 0,
        "socks-port": 0,
        "redir-port": 0,
        "tproxy-port": 0,
        "mixed-port": 0,
        "tun": {
            "enable": True,
            "device": tun,
            "stack": "tunproxy",
            "dns-hijack": ["0.0.0.0:53"] if takes_names else [],
            "auto-route": True,
            "auto-detect-interface": True,
            "inet4-address": [],
            "inet6-address": [],
            "mtu": config.device.mtu or 1500,
            "file-descriptor": 0,
            "recvmsgx": False,
            "processors-per-channel": 1,
        },
        "tuic-server": {
            "enable": False,
            "listen": "",
            "certificate": "",
            "private-key": "",
            "ech-key": "",
            "mux-option": {"brutal": {"enabled": False}},
        },
        "ss-config": "",
        "vmess-config": "",
        "authentication": None,
        "skip-auth-prefixes": None,
        "lan-allowed-ips": [],
        "lan-disallowed-ips": None,
        "allow-lan": False,
        "bind-address": "*",
        "inbound-tfo": False,
        "inbound-mptcp": False,
        "mode": mode,
        "unified-delay": False,
        "log-level": log_level,
        "ipv6": True,
        "interface-name": "",
        "routing-mark": 0,
        "geox-url": {"geo-ip": "", "mmdb": "", "asn": "", "geo-site": ""},
        "geo-auto-update": False,
        "geo-update-interval": 24,
        "geodata-mode": False,
        "geodata-loader": "memconservative",
        "geosite-matcher": "succinct",
        "tcp-concurrent": False,
        "find-process-mode": "strict",
        "sniffing": True,
        "global-ua": "",
        "etag-support": False,
        "keep-alive-idle": 0,
        "keep-alive-interval": 0,
        "disable-keep-alive": False,
    }
