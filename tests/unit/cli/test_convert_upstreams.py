"""Proxies of other programs as tables of upstreams."""

import base64
import importlib
import os
import stat
import tomllib
from pathlib import Path

import pytest

from tunproxy.cli import main
from tunproxy.cli.convert_upstreams import quoted, table_of, written
from tunproxy.errors import ConfigError
from tunproxy.plugin.manager import Plugins
from tunproxy.rulesets.convert.report import Outlet

KEY = base64.b64encode(bytes(16)).decode()
CLASH = f"""
proxies:
  - {{name: old, type: ss, server: s.example, port: 8388, cipher: chacha20-ietf-poly1305, password: geheim, udp: true}}
  - {{name: new, type: ss, server: s.example, port: 8389, cipher: 2022-blake3-aes-128-gcm, password: {KEY}, udp: false}}
  - {{name: hidden, type: ss, server: s.example, port: 8390, cipher: aes-128-gcm, password: geheim, plugin: obfs}}
  - {{name: weak, type: ss, server: s.example, port: 8391, cipher: rc4-md5, password: geheim}}
  - {{name: mistaken, type: ss, server: s.example, port: 8392, cipher: 2022-blake3-aes-128-gcm, password: geheim}}
  - {{name: safe, type: socks5, server: 192.0.2.1, port: 1080, username: u, password: geheim, tls: true}}
  - {{name: web, type: http, server: h.example, port: 443, tls: true, sni: t.example, skip-cert-verify: true}}
rules: ["DOMAIN,a.com,old", "MATCH,new"]
"""  # noqa: E501


@pytest.fixture
def clash(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CLASH)
    return path


def build(text: str) -> None:
    """Have the plugins make every upstream of a configuration; raises ConfigError."""
    plugins = Plugins()
    for name in ("encrypt", "http", "socks"):
        assert plugins.register(importlib.import_module(f"tunproxy_plugins.{name}"), name)
    types = plugins.upstream_types()
    for name, table in tomllib.loads(text)["upstreams"].items():
        if isinstance(table.get("tls"), dict):
            table["tls"] = {key.replace("-", "_"): each for key, each in table["tls"].items()}
        types[table.pop("type")].build(name, table)


def test_tables_and_account(clash: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.toml"
    assert main.run(["convert", str(clash), "--passwords", "-o", str(out)]) == 0
    found = tomllib.loads(out.read_text())["upstreams"]
    placeholder = {"type": "socks5", "server": "127.0.0.1", "port": 1080}
    shadowsocks = {"type": "shadowsocks", "server": "s.example"}
    assert found == {
        "old": {**shadowsocks, "port": 8388, "method": "chacha20-ietf-poly1305", "password": "geheim"},
        "new": {
            **shadowsocks, "port": 8389, "method": "2022-blake3-aes-128-gcm", "password": KEY, "udp": False,
        },
        "hidden": placeholder,
        "weak": placeholder,
        "mistaken": {**shadowsocks, "port": 8392, "method": "2022-blake3-aes-128-gcm"},
        "safe": {
            "type": "socks5", "server": "192.0.2.1", "port": 1080, "user": "u", "password": "geheim",
            "tls": True,
        },
        "web": {"type": "https", "server": "h.example", "port": 443, "tls": {"server-name": "t.example"}},
    }  # fmt: skip
    assert stat.S_IMODE(out.stat().st_mode) & 0o077 == 0
    err = capfd.readouterr().err
    told = dict(line.split(":", 3)[1::2] for line in err.splitlines() if ": upstream " in line)
    assert told["3"] == " exact: upstream old"
    assert told["4"] == " exact: upstream new"
    assert told["5"].startswith(" dropped: upstream hidden: it is ss with the plugin 'obfs', which tunproxy")
    assert told["6"].startswith(" dropped: upstream weak: it is ss with the method 'rc4-md5', which")
    assert told["7"].startswith(" approximated: upstream mistaken: ")
    assert told["8"] == " exact: upstream safe"
    assert told["9"].startswith(" approximated: upstream web: the certificate is checked here")
    assert err.endswith(
        ": 2 exact, 0 approximated, 0 dropped; upstreams: 3 exact, 2 approximated, 2 dropped\n"
    )
    assert "geheim" not in err


def test_passwords_stay_where_they_are(
    clash: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.toml"
    assert main.run(["convert", str(clash), "-o", str(out)]) == 0
    text = out.read_text()
    assert "geheim" not in text
    assert KEY not in text
    assert "approximated: upstream old: its password stays where it is (--passwords writes it)" in (
        capfd.readouterr().err
    )


def test_what_is_written_can_be_used(clash: Path, tmp_path: Path) -> None:
    """Every table is one that its plugin takes; a password that is none has to be filled in."""
    out = tmp_path / "out.toml"
    assert main.run(["convert", str(clash), "--passwords", "-o", str(out)]) == 0
    wrong = '# password = { env = "NAME" } or { file = "PATH" }: fill in'
    assert out.read_text().count(wrong) == 1
    build(out.read_text().replace(wrong, f'password = "{KEY}"'))
    with pytest.raises(ConfigError, match="mistaken"):
        build(out.read_text())


def test_list_of_uris_becomes_upstreams(tmp_path: Path) -> None:
    login = base64.urlsafe_b64encode(b"aes-256-gcm:geheim").decode().rstrip("=")
    path, out = tmp_path / "list", tmp_path / "out.toml"
    path.write_text(f"ss://{login}@192.0.2.1:8388#far%20away\nvmess://x#other\n")
    assert main.run(["convert", str(path), "--passwords", "-o", str(out)]) == 0
    found = tomllib.loads(out.read_text())
    assert found["rules"] == ["MATCH,far away"]
    assert found["upstreams"]["far away"] == {
        "type": "shadowsocks", "server": "192.0.2.1", "port": 8388, "method": "aes-256-gcm",
        "password": "geheim",
    }  # fmt: skip
    build(out.read_text())


def test_rule_file_has_no_account_of_upstreams(clash: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["convert", str(clash)]) == 0
    assert "upstream" not in capfd.readouterr().err


def test_file_that_is_there_keeps_its_mode(clash: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.toml"
    out.touch()
    os.chmod(out, 0o640)
    assert main.run(["convert", str(clash), "--passwords", "-o", str(out)]) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


def test_upstream_without_a_place_is_to_be_filled_in() -> None:
    table = table_of(Outlet("a", "proxy socks5"))
    assert table.lines == ['[upstreams."a"]', 'type = "socks5"', '# server = "", port = 0: fill in']
    assert (table.result, table.why) == ("approximated", "server or port is missing")
    table = table_of(Outlet("a,b", "proxy socks5"))
    assert (table.result, table.why) == ("dropped", "no rule can have a comma in its target")


@pytest.mark.parametrize(
    "value", [True, False, 'a "b"\\\x7f\n\u00e4', ["a", "b"], {"a": "x", "b": [True], "c": {"d": "e"}}]
)
def test_values_are_those_that_toml_reads(value: object) -> None:
    assert tomllib.loads(f"a = {written(value)}")["a"] == value
    assert tomllib.loads(f"{quoted('a b')} = 1") == {"a b": 1}
