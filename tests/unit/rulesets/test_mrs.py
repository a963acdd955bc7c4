"""mihomo's .mrs. The fixtures were made by mihomo 1.19.32."""

import random
from pathlib import Path

import pytest

from tests.unit.rulesets.flows import To, holds
from tests.unit.rulesets.programs import FIXTURES, check_message, damaged, mihomo, names, needs_mihomo
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.clash_text import read_text
from tunproxy.rulesets.mrs import read_mrs
from tunproxy.rulesets.unfold import unfolded
from tunproxy.rulesets.unpack import pack_zstd, unpack_zstd
from tunproxy.rulesets.write_clash import write_mrs


def ordered(content: RuleSetContent) -> RuleSetContent:
    """Return the content with its names in order and once each."""
    content = unfolded(content)
    lists = {
        field: sorted(set(getattr(content, field))) for field in ("exact", "suffix", "below", "wildcard")
    }
    return RuleSetContent(**lists, ranges=sorted(content.ranges))


def test_names_are_those_of_the_source() -> None:
    found = read_mrs((FIXTURES / "domain.mrs").read_bytes(), "x", "domain")
    wanted = read_text((FIXTURES / "domain.txt").read_bytes(), "domain", "x")
    wanted.exact.remove("both.example")  # +.both.example says that already
    assert ordered(found) == ordered(wanted)


def test_addresses_are_those_of_the_source() -> None:
    found = read_mrs((FIXTURES / "ipcidr.mrs").read_bytes(), "x")
    wanted = read_text((FIXTURES / "ipcidr.txt").read_bytes(), "ipcidr", "x")
    wanted.ranges.pop()  # 10.1.0.0/16 is in 10.0.0.0/8
    assert ordered(found) == ordered(wanted)


def test_other_behavior_is_an_error() -> None:
    with pytest.raises(RuleError, match="of behavior domain, not ipcidr"):
        read_mrs((FIXTURES / "domain.mrs").read_bytes(), "x", "ipcidr")


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"MRS\2\0", "not a .mrs file"),
        (b"", "not a .mrs file"),
        (b"MRS\1\2" + bytes(16), "unknown behavior 2"),
        (b"MRS\1\0" + bytes(16) + b"\2", "unknown form 2"),
        (b"MRS\1\1" + bytes(16) + b"\1" + b"\x7f" * 8, "entries announced"),
        (b"MRS\1\0" + bytes(8) + b"\xff" * 8, "entries announced"),
        (b"MRS\1\0" + bytes(16) + b"\1" + b"\0" * 7 + b"\1", "entries announced"),
    ],
)
def test_damaged_head_is_an_error(head: bytes, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        read_mrs(pack_zstd(head), "x")


@pytest.mark.parametrize("name", ["domain.mrs", "ipcidr.mrs"])
def test_damaged_file_is_read_or_refused(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    for copy in damaged(data, 3, 200):
        survives(copy)
    for copy in damaged(unpack_zstd(data, "x"), 4, 800):
        survives(pack_zstd(copy))


def survives(data: bytes) -> None:
    try:
        assert isinstance(read_mrs(data, "x"), RuleSetContent)
    except RuleError as error:
        check_message(error, "x:1:1: ")


@needs_mihomo
def test_mihomo_and_we_read_the_same_of_thousands_of_names(tmp_path: Path) -> None:
    chance = random.Random(6)
    leads = ("", "", ".", "+.", "*.", "+.*.")
    text = "".join(chance.choice(leads) + name + "\n" for name in names(7, 6000)).encode()
    (tmp_path / "a.txt").write_bytes(text)
    mihomo("domain", "text", tmp_path / "a.txt", tmp_path / "a.mrs")
    theirs = read_mrs((tmp_path / "a.mrs").read_bytes(), "a.mrs")
    ours = read_text(text, "domain", "a.txt")
    assert_same_names(theirs, ours, 8)
    # And the other way: what we write, mihomo reads.
    packed, missing = write_mrs(ours, "domain")
    assert missing == 0
    (tmp_path / "b.mrs").write_bytes(packed)
    mihomo("domain", "mrs", tmp_path / "b.mrs", tmp_path / "b.txt")
    assert_same_names(read_text((tmp_path / "b.txt").read_bytes(), "domain", "b.txt"), ours, 9)


@needs_mihomo
def test_mihomo_and_we_read_the_same_of_thousands_of_addresses(tmp_path: Path) -> None:
    chance = random.Random(10)
    lines = [
        f"{chance.randrange(1, 30)}.{chance.randrange(256)}.0.0/{chance.randint(8, 32)}" for _ in range(3000)
    ]
    lines += [f"2001:db8:{chance.randrange(1 << 16):x}::/{chance.randint(32, 128)}" for _ in range(1000)]
    text = "\n".join(lines).encode()
    (tmp_path / "a.txt").write_bytes(text)
    mihomo("ipcidr", "text", tmp_path / "a.txt", tmp_path / "a.mrs")
    ours = merged(read_text(text, "ipcidr", "x").ranges)
    assert merged(read_mrs((tmp_path / "a.mrs").read_bytes(), "x").ranges) == ours
    (tmp_path / "b.mrs").write_bytes(write_mrs(read_text(text, "ipcidr", "x"), "ipcidr")[0])
    mihomo("ipcidr", "mrs", tmp_path / "b.mrs", tmp_path / "b.txt")
    assert merged(read_text((tmp_path / "b.txt").read_bytes(), "ipcidr", "x").ranges) == ours


def assert_same_names(a: RuleSetContent, b: RuleSetContent, seed: int) -> None:
    """Compare membership of thousands of names, of which about half are in the sets."""
    assert not a.skipped
    assert not b.skipped
    a, b = unfolded(a), unfolded(b)
    chance = random.Random(seed)
    known = [name.lstrip("+.*") for name in (*a.exact, *a.suffix, *a.below, *a.wildcard)]
    sets = [quick(a), quick(b)]
    answers = []
    for name in [
        *names(seed, 3000),
        *(chance.choice(("", "x.", "y.x.")) + chance.choice(known) for _ in range(6000)),
    ]:
        one, two = (is_in(name, found) for found in sets)
        assert one == two, name
        answers.append(one)
    assert 1000 < sum(answers) < len(answers)


def quick(content: RuleSetContent) -> tuple[set[str], set[str], set[str], RuleSetContent]:
    return (
        set(content.exact),
        set(content.suffix),
        set(content.below),
        RuleSetContent(wildcard=content.wildcard),
    )


def is_in(name: str, sets: tuple[set[str], set[str], set[str], RuleSetContent]) -> bool:
    exact, suffix, below, patterns = sets
    parents = [name[at + 1 :] for at, letter in enumerate(name) if letter == "."]
    if name in exact or name in suffix or any(parent in suffix or parent in below for parent in parents):
        return True
    ends = ".".join(name.split(".")[-2:])
    few = [pattern for pattern in patterns.wildcard if pattern.endswith(ends)]
    return holds(RuleSetContent(wildcard=few), To(name))


def merged(ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return the ranges, in order, joined where they meet."""
    result: list[tuple[int, int, int]] = []
    for version, first, last in sorted(ranges):
        if result and result[-1][0] == version and first <= result[-1][2] + 1:
            result[-1] = (version, result[-1][1], max(last, result[-1][2]))
        else:
            result.append((version, first, last))
    return result
