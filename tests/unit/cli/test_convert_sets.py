"""Rule sets of other programs as tables, and files of those that stand within their configuration."""

import tomllib
from pathlib import Path

import pytest

from tunproxy.cli import main
from tunproxy.cli.convert_sets import set_tables
from tunproxy.rulesets.convert.report import Conversion, Source
from tunproxy.rulesets.files import parse_set

CLASH = """rule-providers:
  far: {type: http, url: "https://x.example/y", behavior: domain, format: mrs}
  near: {type: file, path: n.yaml, behavior: classical}
  within: {type: inline, behavior: domain, payload: ["+.a.example", b.example]}
rules: ["RULE-SET,within,REJECT", "MATCH,DIRECT"]
"""


def test_items_that_stand_within_become_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text(CLASH)
    out = tmp_path / "home.toml"
    assert main.run(["convert", str(tmp_path / "in"), "-o", str(out)]) == 0
    assert tomllib.loads(out.read_text())["rule-sets"] == {
        "far": {"path": "far.mrs", "url": "https://x.example/y", "format": "mrs", "behavior": "domain"},
        "near": {"path": "n.yaml", "format": "yaml", "behavior": "classical"},
        "within": {"path": "home-within.txt", "format": "text", "behavior": "domain"},
    }
    found = parse_set((tmp_path / "home-within.txt").read_bytes(), "x", "text", "domain")
    assert (found.suffix, found.exact, found.skipped) == (["a.example"], ["b.example"], [])
    err = capfd.readouterr().err
    assert ":2:1: approximated: rule set far: get it, before it can be used (tunproxy rules update)\n" in err
    assert ":4:1: exact: rule set within\n" in err
    assert err.endswith("; rule sets: 2 exact, 1 approximated, 0 dropped\n")


def test_file_of_a_set_is_where_it_was_when_the_configuration_goes_elsewhere(tmp_path: Path) -> None:
    there, here = tmp_path / "clash", tmp_path / "tunproxy"
    there.mkdir()
    here.mkdir()
    lines = [
        "rule-providers:",
        "  near: {type: file, path: ./near.yaml, behavior: domain}",
        "  fixed: {type: file, path: /x/y.yaml, behavior: domain}",
        "rules: ['RULE-SET,near,REJECT']",
    ]
    (there / "config.yaml").write_text("\n".join(lines))
    out = here / "home.toml"
    assert main.run(["convert", "-q", str(there / "config.yaml"), "-o", str(out)]) == 0
    sets = tomllib.loads(out.read_text())["rule-sets"]
    assert sets["near"]["path"] == str(there / "near.yaml")
    assert sets["fixed"]["path"] == "/x/y.yaml"


def test_names_of_files_lead_nowhere_else() -> None:
    sources = [Source(name, "inline", "text", "domain") for name in ("../a", "..-a", ".x")]
    made = set_tables(Conversion("in", sources=sources), "/home/me/.my.toml")
    assert list(made.files) == ["my--a.txt", "my--a-2.txt", "my-x.txt"]


def test_no_two_sets_are_downloaded_into_one_file() -> None:
    sources = [Source(name, "http", "mrs", "domain", f"https://x.example/{name}") for name in ("a b", "a-b")]
    made = set_tables(Conversion("in", sources=[*sources, sources[0]]), "o.toml")
    assert [line for line in made.lines if line.startswith("path")] == [
        'path = "a-b.mrs"', 'path = "a-b-2.mrs"', 'path = "a-b-3.mrs"',
    ]  # fmt: skip


def test_set_from_a_place_of_another_kind_has_to_be_found() -> None:
    made = set_tables(
        Conversion("in", sources=[Source("a", "http", "text", "domain", "ftp://x/y")]), "o.toml"
    )
    assert made.lines[2:4] == ['path = "a.txt"', "# it was ftp://x/y"]
    assert made.account[0].why == "say where it is"


def test_rule_file_comes_without_files(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(CLASH)
    assert main.run(["convert", "-q", str(tmp_path / "in"), "-o", str(tmp_path / "home.rules")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home.rules", "in"]
