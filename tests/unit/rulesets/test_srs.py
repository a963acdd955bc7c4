"""sing-box's compiled rule sets. The fixtures were made by sing-box 1.14.4."""

import json
import random
import zlib
from pathlib import Path

import pytest

from tests.unit.rulesets.flows import To, holds
from tests.unit.rulesets.programs import FIXTURES, check_message, damaged, names, needs_sing_box, sing_box
from tests.unit.rulesets.test_mrs import is_in, merged, quick
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.sing_json import read_sing_json
from tunproxy.rulesets.srs import read_srs
from tunproxy.rulesets.write_sing import write_sing_json, write_srs

FLOWS = [
    To(host, address, port, network, source, source_port, process, path)
    for host in (
        "",
        "exact.example",
        "a.exact.example",
        "suffix.example",
        "a.suffix.example",
        "below.example",
        "a.below.example",
        "a-keyword-b",
        "r15.example",
        "rx.example",
        "port.example",
        "and.example",
        "not.and.example",
        "or.example",
        "inverted.example",
    )
    for address, source in (
        ("192.0.2.9", "10.9.9.9"),
        ("203.0.113.1", "172.16.0.1"),
        ("2001:db8::5", "fd00::1"),
    )
    for port, source_port in ((443, 53), (1500, 5500), (5, 7000), (8443, 40000), (3000, 40000))
    for network, process, path in (
        ("tcp", "x", "/usr/bin/wget"),
        ("udp", "curl", "/opt/curl"),
        ("udp", "y", "/y"),
    )
]


def test_every_item_means_what_it_does_in_json() -> None:
    compiled = read_srs((FIXTURES / "all-items.srs").read_bytes(), "x")
    source = read_sing_json((FIXTURES / "all-items.json").read_bytes(), "x")
    assert [why for _, why in compiled.skipped] == [why for _, why in source.skipped]
    for number in range(len(source.conditions)):
        # One rule inverts, so that nearly everything is in the whole set; so rule by rule.
        one, two = (RuleSetContent(conditions=[found.conditions[number]]) for found in (compiled, source))
        answers = [holds(one, flow) for flow in FLOWS]
        assert answers == [holds(two, flow) for flow in FLOWS]
        assert len(set(answers)) == 2
    compiled.conditions = source.conditions = []
    answers = [holds(compiled, flow) for flow in FLOWS]
    assert answers == [holds(source, flow) for flow in FLOWS]
    assert len(set(answers)) == 2


def test_version_1_has_its_own_way_with_suffixes() -> None:
    content = read_srs((FIXTURES / "v1.srs").read_bytes(), "x")
    assert sorted(content.exact) == ["exact.example", "suffix.example", "xn--mnchen-3ya.example"]
    assert sorted(content.below) == ["below.example", "suffix.example"]


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("ads.example", True),
        ("a.ads.example", True),
        ("bads.example", False),
        ("good.ads.example", False),
        ("a.good.ads.example", False),
        ("tracker.example", True),
        ("a.track1.example", True),
        ("start.example", True),
        ("a.start.example", False),
        ("end.example", True),
        ("theend.example", True),
        ("open.example", True),
        ("open.example.org", True),
        ("banner12.example", True),
        ("banner.example", False),
        ("fine.example", False),
        ("strong.example", True),
        ("really.strong.example", False),
    ],
)
def test_adguard_items(host: str, wanted: bool) -> None:
    assert holds(read_srs((FIXTURES / "adguard.srs").read_bytes(), "x"), To(host)) is wanted


def packed(body: bytes, version: int = 3) -> bytes:
    return b"SRS" + bytes([version]) + zlib.compress(body)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SRX\1", "not a .srs file"),
        (b"SRS", "not a .srs file"),
        (packed(b"\0", 6), "unknown version 6"),
        (packed(b"\xff\xff\xff\xff\x0f"), "entries announced"),
        (packed(b"\1\2\0\0"), "unknown kind 2"),
        (packed(b"\1\1\2\0\0"), "unknown mode 2"),
        (packed(b"\1\0\x63\xff\0"), "unknown item 99"),
        (packed(b"\1\0\6\2\xff\0"), "unknown form 2"),
        (packed(b"\1\0\6\1" + b"\x7f" * 8), "entries announced"),
        (packed(b"\1\0\6\1" + b"\0" * 7 + b"\1\4\2\2\2\2\4\1\1\1\1\xff\0"), "damaged range"),
        (packed(b"\1" + b"\1\0\1" * 100 + b"\0\xff\0"), "nested"),
    ],
)
def test_damaged_data_is_an_error(data: bytes, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        read_srs(data, "x")


@pytest.mark.parametrize("name", ["all-items.srs", "v1.srs", "adguard.srs"])
def test_damaged_file_is_read_or_refused(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    for copy in damaged(data, 6, 200):
        survives(copy)
    for copy in damaged(zlib.decompress(data[4:]), 7, 800):
        survives(packed(copy))


def survives(data: bytes) -> None:
    try:
        assert isinstance(read_srs(data, "x"), RuleSetContent)
    except RuleError as error:
        check_message(error, "x:1:1: ")


@needs_sing_box
@pytest.mark.parametrize("version", [1, 2, 3])
def test_sing_box_and_we_read_the_same_of_thousands(tmp_path: Path, version: int) -> None:
    chance = random.Random(version)
    some = names(20 + version, 3000)
    prefixes = [
        f"{chance.randrange(1, 30)}.{chance.randrange(256)}.0.0/{chance.randint(12, 32)}" for _ in range(500)
    ]
    rule = {"domain": some[:1000], "domain_suffix": some[1000:2000] + ["." + name for name in some[2000:]]}
    source = json.dumps({"version": version, "rules": [{**rule, "ip_cidr": prefixes}]}).encode()
    (tmp_path / "a.json").write_bytes(source)
    sing_box("compile", tmp_path / "a.json", "-o", tmp_path / "a.srs")
    theirs = read_srs((tmp_path / "a.srs").read_bytes(), "a.srs")
    ours = read_sing_json(source, "a.json")
    same(theirs, ours, chance)
    # And the other way: what we write, sing-box reads.
    (tmp_path / "b.srs").write_bytes(write_srs(ours)[0])
    sing_box("decompile", tmp_path / "b.srs", "-o", tmp_path / "b.json")
    same(read_sing_json((tmp_path / "b.json").read_bytes(), "b.json"), ours, chance)
    (tmp_path / "c.json").write_bytes(write_sing_json(ours)[0])
    sing_box("compile", tmp_path / "c.json", "-o", tmp_path / "c.srs")
    same(read_srs((tmp_path / "c.srs").read_bytes(), "c.srs"), ours, chance)


def same(a: RuleSetContent, b: RuleSetContent, chance: random.Random) -> None:
    assert not a.skipped
    assert merged(a.ranges) == merged(b.ranges)
    one, two = quick(a), quick(b)
    known = [*b.exact, *b.suffix, *b.below]
    asked = [
        *names(chance.randrange(1000), 3000),
        *(chance.choice(("", "x.")) + chance.choice(known) for _ in range(5000)),
    ]
    answers = [is_in(name, one) for name in asked]
    assert answers == [is_in(name, two) for name in asked]
    assert 1000 < sum(answers) < len(answers)


@needs_sing_box
def test_sing_box_matches_what_we_match(tmp_path: Path) -> None:
    for fixture in ("all-items.srs", "adguard.srs", "v1.srs"):
        content = read_srs((FIXTURES / fixture).read_bytes(), "x")
        # `match` knows a name or an address only, and rules that need more it answers by what is not there.
        content.conditions = [] if fixture == "all-items.srs" else content.conditions
        asked = [
            "a.ads.example",
            "good.ads.example",
            "exact.example",
            "a.below.example",
            "below.example",
            "tracker.example",
            "theend.example",
            "192.0.2.77",
            "203.0.113.1",
        ]
        for text in asked:
            if (
                fixture == "all-items.srs"
                and not text[0].isdigit()
                and "exact" not in text
                and "below" not in text
            ):
                continue
            said = sing_box("match", "-f", "binary", FIXTURES / fixture, text)
            flow = To(address=text) if text[0].isdigit() else To(text)
            theirs = "rules.[0]" in said
            assert holds(content, flow) is theirs, (fixture, text, said)


@needs_sing_box
def test_sing_box_reads_every_condition_that_we_write(tmp_path: Path) -> None:
    source = read_sing_json((FIXTURES / "all-items.json").read_bytes(), "x")
    packed_set, missing = write_srs(source)
    assert missing == 0
    (tmp_path / "a.srs").write_bytes(packed_set)
    sing_box("decompile", tmp_path / "a.srs", "-o", tmp_path / "a.json")
    back = read_sing_json((tmp_path / "a.json").read_bytes(), "a.json")
    assert not back.skipped
    for flow in FLOWS:
        assert holds(back, flow) is holds(source, flow)
