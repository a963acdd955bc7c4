"""Lists of proxies as URIs, one a line, in the clear or in base64 as subscriptions are.

ss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388/?plugin=…#name        method:password in base64
ss://aes-128-gcm:secret@192.0.2.1:8388#name                        or percent-encoded
ss://YWVzLTEyOC1nY206c2VjcmV0QDE5Mi4wLjIuMTo4Mzg4#name             all of it, as it was before SIP002
"""

import base64
import binascii
import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tunproxy.rulesets.convert.nodes import Node
from tunproxy.rulesets.convert.report import Conversion, Outlet
from tunproxy.rulesets.lines import lines_of
from tunproxy.rulesets.notes import broken

MAX_LEN: Final = 16 << 20  # octets, our choice
MAX_LABEL: Final = 100  # characters of a name

_SPOKEN: Final = {"ss": "ss", "socks": "socks5", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4",
                  "socks4a": "socks4a", "http": "http", "https": "https"}  # fmt: skip
_URI: Final = re.compile(r"([a-z][a-z0-9+-]{1,20})://(\S+.*)")
_LISTED: Final = re.compile(
    r"^\s*(ss|ssr|vmess|vless|trojan|hysteria|hysteria2|hy2|tuic|socks|socks5)://\S", re.MULTILINE
)


def convert_uris(data: bytes, name: str) -> Conversion:
    """Return the proxies of a list, and one rule that the first is taken; raises RuleError for no text."""
    if len(data) > MAX_LEN:
        raise broken(name, f"the file has more than {MAX_LEN} octets")
    result = Conversion(name)
    labels: set[str] = set()
    for number, line in lines_of(unwrapped(data), name):
        found = _URI.fullmatch(line)
        if not found:
            if line and not line.startswith("#"):
                result.drop("(a line)", number, "it is no URI of a proxy")  # whatever it is, it may be secret
            continue
        outlet = _outlet(found[1], found[2], number, labels)
        if outlet is None:
            result.drop(f"{found[1]}://", number, "it has no server and port, or is damaged")
        else:
            result.outlets.append(outlet)
    if result.outlets:
        first = result.outlets[0]
        why = "a list of proxies has no rules: the first one is taken"
        result.add("(no rules)", first.line, [f"MATCH,{first.name}"], why)
    return result


def is_list(text: str) -> bool:
    """Tell whether text, which may be in base64, has URIs of proxies."""
    return _LISTED.search(text) is not None or _LISTED.search(_decoded(text)) is not None


def unwrapped(data: bytes) -> bytes:
    """Return data as text lines, where it is in base64 as a whole."""
    if b"://" in data:
        return data
    return _decoded(data.decode(errors="replace")).encode() or data


def _outlet(scheme: str, rest: str, line: int, labels: set[str]) -> Outlet | None:
    body, _, fragment = rest.partition("#")
    if scheme == "ss" and "@" not in body:  # as it was before SIP002
        wrapped, question, asked = body.partition("?")
        user, _, place = _decoded(wrapped.rstrip("/")).rpartition("@")
        body = f"{_quoted(user)}@{place}{question}{asked}"
    try:
        parts = urlsplit(f"{scheme}://{body}")
        server, port = parts.hostname or "", parts.port or 0
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        query = dict(parse_qsl(parts.query, max_num_fields=50))
    except ValueError:
        return None
    if scheme in _SPOKEN and not (server and port):
        return None
    node = Node(_label(unquote(fragment), server, port, labels), _SPOKEN.get(scheme, scheme), query, line)
    if scheme not in _SPOKEN:
        query.clear()
        return Outlet(node.label, f"proxy {scheme}", (), server, port, line=line)
    if scheme == "ss":
        if not parts.password:
            user, _, password = _decoded(user).partition(":")
        node.shadowsocks(user, node.text("plugin"))
        user = ""
    elif scheme == "socks" and not parts.password:
        user, _, password = _decoded(user).partition(":")
    return node.outlet(server, port, user, password)


def _quoted(user: str) -> str:
    """Return method:password as it may stand in a URI."""
    method, _, password = user.partition(":")
    encoded = "".join(f"%{octet:02X}" for octet in password.encode())
    return f"{method}:{encoded}"


def _label(wanted: str, server: str, port: int, labels: set[str]) -> str:
    """Return a name that no other has, and that a rule can have as its target."""
    base = " ".join(wanted.replace(",", " ").split())[:MAX_LABEL] or f"{server}:{port}"
    label, number = base, 2
    while label in labels:
        label, number = f"{base} {number}", number + 1
    labels.add(label)
    return label


def _decoded(text: str) -> str:
    """Return what text says in base64, of either alphabet; "" where it says nothing."""
    packed = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
