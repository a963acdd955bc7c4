"""Proxies of other programs as upstreams of ours: what their keys mean to us, and what is lost of them."""

from collections.abc import Mapping, Sequence
from typing import Final

from tunproxy.rulesets.convert.report import Outlet, port_of

MAX_SHOWN: Final = 10  # keys that are named as left out; our choice

_SILENT: Final = frozenset(("tfo", "fast-open", "tcp_fast_open"))  # changes nothing that a flow could notice
_UNCHECKED: Final = "the certificate is checked here (tls = { pin = ... } takes the one that is known)"


class Node:
    """One proxy on its way. ``take`` what is understood; ``outlet`` names what is left."""

    def __init__(self, label: str, kind: str, keys: Mapping[str, object], line: int = 1) -> None:
        self.kind = kind
        self.options: dict[str, object] = {}
        self.tls: dict[str, object] = {}
        self.left_out: list[str] = []
        self.obstacle = ""
        self.label: Final = label
        self._keys: Final = dict(keys)
        self._line: Final = line

    def take(self, *names: str) -> object:
        """Return the value of the first of these keys that is there, None for none."""
        found = None
        for name in names:
            value = self._keys.pop(name, None)
            found = value if found is None else found
        return found

    def text(self, *names: str) -> str:
        """Return such a value as text; "" for what is no scalar."""
        value = self.take(*names)
        return "" if value is None or isinstance(value, bool) else shown(value)

    def is_set(self, *names: str) -> bool:
        return _is_true(self.take(*names))

    def shadowsocks(self, method: str, plugin: str) -> None:
        """It is a Shadowsocks server, with a plugin where that is not empty."""
        self.options["method"] = method.lower()
        if plugin:
            self.obstacle = f"the plugin {plugin.partition(';')[0]!r}"

    def secure(self) -> None:
        """It is inside TLS: HTTP is https then, and what self.tls has is how."""
        self.kind = "https" if self.kind == "http" else self.kind
        if self.tls or self.kind != "https":
            self.options["tls"] = self.tls or True

    def unchecked(self) -> None:
        """Its certificate is not looked at, which we do not do."""
        if "pin" not in self.tls:
            self.left_out.append(_UNCHECKED)

    def group(self, members: Sequence[str]) -> Outlet:
        """Return the group, with an account of the keys that nobody has taken."""
        self._account()
        return Outlet(
            self.label,
            f"group {self.kind}",
            tuple(members),
            options=self.options,
            left_out=tuple(self.left_out),
            line=self._line,
        )

    def _account(self) -> None:
        rest = [key for key, value in self._keys.items() if key not in _SILENT and not _is_nothing(value)]
        if rest:
            more = f" and {len(rest) - MAX_SHOWN} more" if len(rest) > MAX_SHOWN else ""
            self.left_out.append(f"{', '.join(map(repr, rest[:MAX_SHOWN]))}{more}: left out")

    def outlet(self, server: str, port: object, user: str = "", password: str = "") -> Outlet:
        """Return the upstream, with the same account."""
        self._account()
        return Outlet(
            self.label,
            f"proxy {self.kind}".strip(),
            (),
            server,
            port_of(port),
            user,
            password,
            self.options,
            tuple(self.left_out),
            self.obstacle,
            self._line,
        )


def clash_node(label: str, entry: Mapping[str, object], line: int = 1) -> Outlet:
    """Return an entry of Clash's and mihomo's ``proxies``."""
    node = Node(label, shown(entry.get("type", "")).lower(), entry, line)
    node.take("type", "name")
    server, port = node.text("server"), node.take("port")
    has_udp = node.take("udp")
    if node.kind not in ("ss", "http", "socks5"):
        return Outlet(label, f"proxy {node.kind}".strip(), (), server, port_of(port), line=line)
    user, password = node.text("username"), node.text("password")
    if node.kind == "ss":
        node.shadowsocks(node.text("cipher"), node.text("plugin"))
        node.take("plugin-opts")
        if has_udp is False:
            node.options["udp"] = False
    elif node.is_set("tls"):
        _tls(node, {"server-name": node.text("sni", "servername"), "pin": node.text("fingerprint")})
        if node.is_set("skip-cert-verify"):
            node.unchecked()
        node.secure()
    else:
        node.take("sni", "servername", "fingerprint", "skip-cert-verify")
    return node.outlet(server, port, user, password)


def singbox_node(label: str, entry: Mapping[str, object]) -> Outlet:
    """Return one of sing-box's ``outbounds``."""
    kinds = {"socks": "socks5", "shadowsocks": "ss"}
    node = Node(label, kinds.get(shown(entry.get("type")), shown(entry.get("type"))), entry)
    node.take("type", "tag")
    server, port = node.text("server"), node.take("server_port")
    if node.kind not in ("ss", "http", "socks5"):
        return Outlet(label, f"proxy {node.kind}", (), server, port_of(port))
    user, password = node.text("username"), node.text("password")
    if node.kind == "ss":
        node.shadowsocks(node.text("method"), node.text("plugin"))
        node.take("plugin_opts")
    elif node.kind == "socks5":
        version = node.text("version")
        node.kind = {"4": "socks4", "4a": "socks4a"}.get(version, node.kind)
    if node.kind != "http" and _only(node, "tcp"):
        node.options["udp"] = False
    tls = node.take("tls")
    if node.kind == "http" and isinstance(tls, dict) and tls.get("enabled"):
        _singbox_tls(node, tls)
    return node.outlet(server, port, user, password)


def surge_node(label: str, kind: str, words: list[str], line: int) -> Outlet:
    """Return a line of Surge's [Proxy]: kind, server, port, and ``key=value`` behind these."""
    place = [word for word in words if "=" not in word]
    pairs = [word.partition("=") for word in words if "=" in word]
    node = Node(label, kind, {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}, line)
    server, port = (place[0] if place else ""), (place[1] if len(place) > 1 else 0)
    if kind not in ("ss", "http", "https", "socks5", "socks5-tls"):
        return Outlet(label, f"proxy {kind}", (), server, port_of(port), line=line)
    user, password = node.text("username"), node.text("password")
    if kind == "ss":
        node.shadowsocks(node.text("encrypt-method"), node.text("obfs"))
        node.take("obfs-host", "obfs-uri")
        if node.take("udp-relay") == "false":
            node.options["udp"] = False
        return node.outlet(server, port, "", password)
    node.take("udp-relay")
    user, password = user or "".join(place[2:3]).strip('"'), password or "".join(place[3:4]).strip('"')
    if kind in ("https", "socks5-tls"):
        node.kind = kind.removesuffix("s") if kind == "https" else "socks5"
        _tls(node, {"server-name": node.text("sni"), "pin": node.text("server-cert-fingerprint-sha256")})
        if node.is_set("skip-cert-verify"):
            node.unchecked()
        node.secure()
    return node.outlet(server, port, user, password)


def shown(value: object) -> str:
    """Return a scalar as text. Others are not shown: with aliases, a small file can hold endless ones."""
    return str(value) if isinstance(value, (str, int, float)) else f"({type(value).__name__})"


def _tls(node: Node, found: Mapping[str, str]) -> None:
    node.tls.update({key: value for key, value in found.items() if value})


def _singbox_tls(node: Node, keys: Mapping[str, object]) -> None:
    inner = Node("", "", keys)
    inner.take("enabled")
    _tls(node, {"server-name": inner.text("server_name"), "ca-file": inner.text("certificate_path")})
    minimum = inner.text("min_version")
    if minimum in ("1.2", "1.3"):
        node.tls["min-version"] = minimum
    names = inner.take("alpn")
    if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
        node.tls["alpn"] = names
    if inner.is_set("insecure"):
        node.unchecked()
    node.left_out += [f"tls: {each}" for each in inner.outlet("", 0).left_out]
    node.secure()


def _only(node: Node, network: str) -> bool:
    value = node.take("network")
    return value == network or value == [network]


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("true", "1"))


def _is_nothing(value: object) -> bool:
    if isinstance(value, dict):  # multiplex, smux: switched off as a whole
        return not value or value.get("enabled") is False
    return value in (None, False, "", "false", 0) or value == []
