"""Proxies of other programs."""

from collections.abc import Mapping

import pytest

from tunproxy.rulesets.convert.nodes import clash_node, singbox_node, surge_node
from tunproxy.rulesets.convert.report import Outlet

SS = {"type": "ss", "server": "s.example", "port": 8388, "cipher": "AES-128-GCM", "password": "geheim"}
UNCHECKED = "the certificate is checked here"


def clash(**keys: object) -> Outlet:
    return clash_node("a", {"name": "a", "server": "s.example", "port": 443, **keys}, 7)


def singbox(**keys: object) -> Outlet:
    return singbox_node("a", {"tag": "a", "server": "s.example", "server_port": 443, **keys})


def surge(text: str) -> Outlet:
    kind, *words = (word.strip() for word in text.split(","))
    return surge_node("a", kind, words, 7)


def facts(outlet: Outlet) -> tuple[str, str, int, str, str, Mapping[str, object]]:
    return (outlet.kind, outlet.server, outlet.port, outlet.user, outlet.password, outlet.options)


def test_shadowsocks_is_the_same_whoever_says_it() -> None:
    made = [
        clash(**SS, udp=True),
        singbox(type="shadowsocks", server_port=8388, method="aes-128-gcm", password="geheim"),
        surge("ss, s.example, 8388, encrypt-method=aes-128-gcm, password=geheim, udp-relay=true, tfo=true"),
    ]
    for outlet in made:
        expected = ("proxy ss", "s.example", 8388, "", "geheim", {"method": "aes-128-gcm"})
        assert facts(outlet) == expected
        assert (outlet.left_out, outlet.obstacle) == ((), "")
        assert "geheim" not in repr(outlet)
    assert (made[0].line, made[2].line) == (7, 7)


def test_shadowsocks_without_udp() -> None:
    made = [
        clash(**SS, udp=False),
        singbox(type="shadowsocks", method="aes-128-gcm", password="x", network="tcp"),
        surge("ss, s.example, 8388, encrypt-method=aes-128-gcm, password=x, udp-relay=false"),
    ]
    for outlet in made:
        assert outlet.options == {"method": "aes-128-gcm", "udp": False}


def test_shadowsocks_with_a_plugin_is_none_that_we_speak_to() -> None:
    made = [
        clash(**SS, plugin="obfs", **{"plugin-opts": {"mode": "tls"}}),
        singbox(type="shadowsocks", method="aes-128-gcm", plugin="obfs", plugin_opts="obfs=tls"),
        surge("ss, s.example, 8388, encrypt-method=aes-128-gcm, password=x, obfs=obfs, obfs-host=b.example"),
    ]
    for outlet in made:
        assert (outlet.obstacle, outlet.left_out) == ("the plugin 'obfs'", ())


def test_what_a_server_may_be_asked_for_besides_is_named() -> None:
    keys = {"udp-over-tcp": True, "smux": {"enabled": True}, "tfo": True, "mptcp": False}
    assert clash(**SS, **keys).left_out == ("'udp-over-tcp', 'smux': left out",)
    off = {"multiplex": {"enabled": False}, "udp_over_tcp": False, "domain_resolver": "x"}
    assert singbox(type="shadowsocks", method="x", **off).left_out == ("'domain_resolver': left out",)
    many = clash(**SS, **{f"key{number}": 1 for number in range(1000)})
    assert many.left_out[0].endswith("'key9' and 990 more: left out")


def test_http_inside_tls() -> None:
    pin = "ab" * 32
    made = [
        clash(type="http", tls=True, username="u", password="p", sni="t.example", fingerprint=pin),
        surge(
            f"https, s.example, 443, u, p, sni=t.example, server-cert-fingerprint-sha256={pin}, "
            "skip-cert-verify=true"
        ),
    ]
    for outlet in made:
        tls = {"server-name": "t.example", "pin": pin}
        assert facts(outlet) == ("proxy https", "s.example", 443, "u", "p", {"tls": tls})
        assert outlet.left_out == ()
    plain = clash(type="http", tls=False, sni="left over")
    assert facts(plain) == ("proxy http", "s.example", 443, "", "", {})
    assert clash(type="http", tls=True).options == {}


def test_socks_inside_tls() -> None:
    for outlet in (clash(type="socks5", tls=True), surge("socks5-tls, s.example, 443")):
        assert (outlet.kind, outlet.options, outlet.left_out) == ("proxy socks5", {"tls": True}, ())


def test_certificate_that_is_not_checked_is_here() -> None:
    made = [
        clash(type="http", tls=True, **{"skip-cert-verify": True}),
        singbox(type="http", tls={"enabled": True, "insecure": True}),
        surge("https, s.example, 443, skip-cert-verify=true"),
    ]
    for outlet in made:
        assert outlet.kind == "proxy https"
        assert outlet.left_out[0].startswith(UNCHECKED)


def test_tls_of_sing_box() -> None:
    tls = {
        "enabled": True, "server_name": "t.example", "certificate_path": "/c.pem", "min_version": "1.3",
        "alpn": ["http/1.1"], "utls": {"enabled": True}, "ech": {"enabled": False}, "insecure": False,
    }  # fmt: skip
    outlet = singbox(type="http", username="u", password="p", tls=tls)
    assert outlet.options["tls"] == {
        "server-name": "t.example", "ca-file": "/c.pem", "min-version": "1.3", "alpn": ["http/1.1"],
    }  # fmt: skip
    assert outlet.left_out == ("tls: 'utls': left out",)
    assert singbox(type="http", tls={"enabled": False}).kind == "proxy http"


@pytest.mark.parametrize(
    ("version", "kind"), [("4", "socks4"), ("4a", "socks4a"), ("5", "socks5"), (None, "socks5")]
)
def test_socks_of_sing_box(version: str | None, kind: str) -> None:
    assert singbox(type="socks", version=version, username="u").kind == f"proxy {kind}"


def test_others_are_named_and_no_more() -> None:
    for outlet in (clash(type="vmess", uuid="x"), singbox(type="vmess"), surge("vmess, s.example, 443")):
        assert facts(outlet) == ("proxy vmess", "s.example", 443, "", "", {})
    assert clash_node("a", {}).kind == "proxy"


@pytest.mark.parametrize("value", [None, [], {}, {"a": [1]}, True, 1.5, "x", ["x"] * 3])
def test_values_of_any_kind_raise_nothing(value: object) -> None:
    for key in ("type", "server", "port", "cipher", "password", "plugin", "udp", "tls", "sni", "username"):
        clash(**{**SS, key: value})
        clash(**{"type": "http", "tls": True, key: value})
    for key in ("type", "server", "server_port", "method", "plugin", "tls", "version", "network", "password"):
        singbox(**{"type": "shadowsocks", key: value})
        singbox(**{"type": "http", "tls": {"enabled": True, "alpn": value, "min_version": value}, key: value})
