"""``tunproxy convert``."""

import tomllib
from pathlib import Path

import pytest

from tests.unit.progressing import Shown
from tunproxy.cli import convert, main
from tunproxy.cli.convert import FORMATS
from tunproxy.rules.files import parse_rules

CLASH = """
proxies: [{name: 'P "1"', type: socks5}]
proxy-groups: [{name: G, type: select, proxies: ['P "1"', DIRECT]}]
rule-providers: {far: {type: http, url: "https://x.example/y", behavior: domain}, near: {type: file, path: n.yaml, behavior: classical}}
sub-rules: {s: ["MATCH,DIRECT"]}
rules:
  - DOMAIN,a.com,G
  - RULE-SET,near,DIRECT
  - NONSENSE,a,G
  - DOMAIN,b.com,NOBODY
  - MATCH,G
"""  # noqa: E501


@pytest.fixture
def clash(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CLASH)
    return path


def test_rules_go_to_standard_output_and_the_report_to_standard_error(
    clash: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["convert", "--from", "clash", str(clash)]) == 0
    out, err = capfd.readouterr()
    file = parse_rules(out.encode())
    assert (file.errors, [rule.target for rule in file.rules]) == ([], ["G", "DIRECT", "NOBODY", "G"])
    lines = [line.split(": ")[1] for line in err.splitlines()]
    assert lines == [
        "exact",
        "exact",
        "exact",
        "dropped",
        "approximated",
        "exact",
        "4 exact, 1 approximated, 1 dropped",
    ]


def test_configuration_has_everything_that_was_found(
    clash: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.toml"
    assert main.run(["convert", "--from", "clash", "-q", str(clash), "-o", str(out)]) == 0
    found = tomllib.loads(out.read_text())
    assert found["rules"] == ["DOMAIN,a.com,G", "RULE-SET,near,DIRECT", "DOMAIN,b.com,NOBODY", "MATCH,G"]
    assert found["sub-rules"] == {"s": ["MATCH,DIRECT"]}
    assert found["upstreams"] == {'P "1"': {"type": "socks5"}}
    assert found["groups"] == {"G": {"type": "select", "members": ['P "1"', "DIRECT"]}}
    assert found["rule-sets"]["near"] == {"path": "n.yaml", "format": "yaml", "behavior": "classical"}
    assert "https://x.example/y" in out.read_text()
    assert ": exact:" not in capfd.readouterr().err


MORE_CLASH = """
proxies:
  - {name: work, type: socks5, server: 192.0.2.1, port: 1080, username: u, password: geheim}
  - {name: web, type: http, server: h.example, port: 443, tls: true}
  - {name: far, type: ss, server: s.example, port: 8388}
  - {name: "a, b", type: http, server: h.example, port: 8080}
rules: ["DOMAIN,a.com,work", "DOMAIN,b.com,far", "MATCH,web"]
"""
MORE_SING_BOX = """{"outbounds": [
  {"type": "socks", "tag": "work", "server": "192.0.2.1", "server_port": 1080, "username": "u"},
  {"type": "http", "tag": "web", "server": "h.example", "server_port": 443, "tls": {"enabled": true}},
  {"type": "vmess", "tag": "far", "server": "s.example", "server_port": 8388},
  {"type": "selector", "tag": "pick", "outbounds": ["work", "web"]}
], "route": {"rules": [{"domain": "a.com", "outbound": "pick"}], "final": "work"}}"""
MORE_SURGE = """[Proxy]
work = socks5, 192.0.2.1, 1080, u, geheim
web = https, h.example, 443
far = trojan, s.example, 8388, password=geheim
[Rule]
FINAL,work
"""


@pytest.mark.parametrize(
    ("form", "text"), [("clash", MORE_CLASH), ("sing-box", MORE_SING_BOX), ("surge", MORE_SURGE)]
)
def test_upstreams_are_where_they_were(
    tmp_path: Path, form: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text(text)
    out = tmp_path / "out.toml"
    assert main.run(["convert", "--from", form, str(tmp_path / "in"), "-o", str(out)]) == 0
    found = tomllib.loads(out.read_text())
    assert found["upstreams"] == {
        "work": {"type": "socks5", "server": "192.0.2.1", "port": 1080, "user": "u"},
        "web": {"type": "https", "server": "h.example", "port": 443},
        "far": {"type": "socks5", "server": "127.0.0.1", "port": 1080},
    }
    assert "which tunproxy does not speak" in out.read_text()
    assert "geheim" not in out.read_text(), "passwords stay where they are"
    if form == "sing-box":
        assert found["groups"] == {"pick": {"type": "select", "members": ["work", "web"]}}


@pytest.mark.parametrize(
    ("form", "text", "rules"),
    [
        (
            "sing-box",
            '{"route": {"rules": [{"domain": "a.com", "outbound": "direct"}], "final": "direct"}}',
            1,
        ),
        ("surge", "[Rule]\nDOMAIN,a.com,DIRECT\nFINAL,DIRECT\n", 2),
        ("acl", "[proxy_all]\n[bypass_list]\n||a.com\n", 2),
        ("dae", "routing {\n  domain(suffix: a.com) -> direct\n  fallback: direct\n}\n", 2),
    ],
)
def test_other_formats(
    tmp_path: Path, form: str, text: str, rules: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert form in FORMATS
    path = tmp_path / "in"
    path.write_text(text)
    assert main.run(["convert", "--from", form, str(path)]) == 0
    assert len(parse_rules(capfd.readouterr().out.encode()).rules) >= rules


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from", "cash", "x"], "invalid value for '--from': 'cash' is none of clash, sing-box"),
        (["--from", "clash", "/nonexistent/x"], "cannot read /nonexistent/x: no such file or directory"),
        (["/nonexistent/x"], "cannot read /nonexistent/x: no such file or directory"),
        (
            ["/dev/null"],
            "cannot convert /dev/null: it looks like no other program's configuration (say whose",
        ),
        (["--from", "surge", "/dev/null"], "cannot convert /dev/null: surge would find no rule in it\n"),
    ],
)
def test_what_cannot_be_converted(
    arguments: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["convert", *arguments]) == 2
    assert capfd.readouterr().err.startswith(f"tunproxy: {complaint}")


def test_whose_it_is_need_not_be_said(clash: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["convert", "-q", str(clash)]) == 0
    assert capfd.readouterr().err.endswith(f"{clash}, taken as clash: 4 exact, 1 approximated, 1 dropped\n")


def test_file_of_somebody_else_is_told(clash: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["convert", "--from", "surge", str(clash)]) == 2
    said = f"tunproxy: cannot convert {clash}: surge would find no rule in it (it looks like one of clash)\n"
    assert capfd.readouterr() == ("", said)


def test_place_that_cannot_be_written(clash: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["convert", "--from", "clash", str(clash), "-o", "/nonexistent/x"]) == 2
    assert "cannot write /nonexistent/x: no such file" in capfd.readouterr().err


def test_long_conversion_shows_how_far_it_is(clash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setattr(convert, "showing", shown)
    assert main.run(["convert", str(clash), "-o", str(clash.with_suffix(".rules"))]) == 0
    assert main.run(["convert", str(clash), "-o", str(clash.with_suffix(".rules")), "--quiet"]) == 0
    once = [f"reading {clash}", f"converting {clash}, taken as clash"]
    assert (shown.words, shown.quiet) == ([*once, *once], [False, True])
