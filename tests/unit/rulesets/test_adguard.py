"""AdGuard's lists."""

from pathlib import Path

import pytest

from tests.unit.rulesets.flows import To, holds
from tests.unit.rulesets.programs import FIXTURES, damaged, names, needs_sing_box, sing_box
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.adguard import read_adguard
from tunproxy.rulesets.srs import read_srs


def test_exceptions_and_importance() -> None:
    data = b"a.com\n||b.com^\n@@||c.b.com^\n||d.b.com^$important\n"
    data += b"@@||e.d.b.com^$important\n||f.com^\n@@||f.com^\n"
    content = read_adguard(data, "x")
    inside = ("a.com", "b.com", "x.b.com", "d.b.com", "x.d.b.com")
    outside = ("x.a.com", "c.b.com", "x.c.b.com", "e.d.b.com", "f.com", "x.f.com")
    assert [name for name in inside if not holds(content, To(name))] == []
    assert [name for name in outside if holds(content, To(name))] == []


def test_names_without_exceptions_stay_names() -> None:
    content = read_adguard(b"||a.com^\n||b.com^\n@@||x.b.com^\n", "x")
    assert content.suffix == ["a.com"]
    assert len(content.conditions) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a.com##.ad", "elements"),
        ("||a.com/path", "path"),
        ("||a.com^$third-party", "third-party"),
        ("||a.com:80^", "port"),
        ("||1.2.3.4^", "address"),
        ("/(/", "expression"),
        ("192.0.2.1 a.com", "real address"),
        ("||a..com^", "empty label"),
    ],
)
def test_what_needs_more_than_a_name_is_noted(line: str, why: str) -> None:
    content = read_adguard(f"! title\n[Adblock Plus]\n{line}\n||z.com^\n".encode(), "x")
    assert content.suffix == ["z.com"]
    assert len(content.skipped) == 1
    assert content.skipped[0][0].line == 3
    assert why in content.skipped[0][1]


def test_lines_that_are_understood_in_other_ways() -> None:
    content = read_adguard(
        b"0.0.0.0 a.com\n/^b[0-9]$/\n||c.com^$dnsrewrite=0.0.0.0\n# note\n|https://d.com^\n", "x"
    )
    assert (content.exact, content.regex, content.suffix) == (["a.com", "d.com"], ["^b[0-9]$"], ["c.com"])
    assert not content.skipped


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged((FIXTURES / "adguard.txt").read_bytes(), 13, 500):
        try:
            assert isinstance(read_adguard(copy, "x"), RuleSetContent)
        except RuleError:
            assert b"\0" in copy


@needs_sing_box
def test_sing_box_and_we_read_the_same(tmp_path: Path) -> None:
    folder = tmp_path
    some = names(30, 400)
    lines = [f"||{name}^" for name in some[:300]] + [f"@@||x.{name}^" for name in some[:40]]
    lines += [f"@@||{name}^" for name in some[40:60]] + [f"||y.x.{name}^$important" for name in some[:20]]
    lines += [f"|{name}^" for name in some[300:350]] + [f"||{name[:5]}*.example^" for name in some[350:]]
    (folder / "a.txt").write_text("\n".join(lines))
    sing_box("convert", "--type", "adguard", folder / "a.txt", "-o", folder / "a.srs")
    theirs = read_srs((folder / "a.srs").read_bytes(), "a.srs")
    ours = read_adguard((folder / "a.txt").read_bytes(), "a.txt")
    assert not theirs.skipped
    assert not ours.skipped
    asked = [lead + name for lead in ("", "x.", "y.x.", "z") for name in some[:120]] + names(31, 200)
    answers = [holds(ours, To(name)) for name in asked]
    assert answers == [holds(theirs, To(name)) for name in asked]
    assert 100 < sum(answers) < len(answers) - 100
