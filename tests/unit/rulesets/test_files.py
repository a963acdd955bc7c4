"""Files, and what is in them."""

import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from tests.unit.rulesets.mmdb_maker import make_mmdb
from tests.unit.rulesets.programs import FIXTURES, check_message
from tests.unit.rulesets.test_geoip import DATA as GEOIP
from tests.unit.rulesets.test_geosite import DATA as GEOSITE
from tunproxy.rules.model import RuleError
from tunproxy.rulesets import files
from tunproxy.rulesets.files import FORMATS, detect, format_of, parse_set, read_octets, read_set, read_up_to


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a", b"SRS\1", "srs"),
        ("a.txt", b"\x28\xb5\x2f\xfd", "mrs"),
        ("a", b' {"version": 1}', "json"),
        ("a.yml", b"payload:\n", "yaml"),
        ("a", b"# x\npayload:\n", "yaml"),
        ("a.list", b"DOMAIN,a.com\n", "text"),
        ("a", b"+.a.com\n", "text"),
        ("a.txt", b"! x\n||a.com^\n", "adguard"),
        ("a.txt", b"# x\n0.0.0.0 a.com\n", "hosts"),
        ("/etc/hosts", b"", "hosts"),
        ("geosite.dat", b"", "geosite"),
        ("geoip.dat", b"", "geoip"),
    ],
)
def test_format_is_found_out(name: str, data: bytes, form: str) -> None:
    assert detect(data, name) == form


def test_format_of_a_file_is_told_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"payload:\n" + b"- a.example\n" * 10_000)
    assert format_of(path) == "yaml"
    assert format_of(tmp_path / "a.mmdb") == "mmdb"
    assert format_of(tmp_path / "gone") == ""


@pytest.mark.parametrize(
    ("name", "behavior"),
    [
        ("domain.txt", "domain"),
        ("domain.mrs", "domain"),
        ("ipcidr.mrs", "ipcidr"),
        ("all-items.srs", "classical"),
        ("all-items.json", "classical"),
        ("adguard.txt", "domain"),
    ],
)
def test_fixtures_are_read_without_being_told_what_they_are(name: str, behavior: str) -> None:
    content = read_set(FIXTURES / name, behavior=behavior)
    assert content.exact or content.suffix or content.ranges or content.tries


def test_every_format_but_mmdb_has_a_reader() -> None:
    for form in FORMATS:
        if form == "mmdb":
            continue
        try:
            parse_set(b"", "x", form, "domain", "cn")
        except RuleError as error:
            check_message(error, "x:1:1: ", never="unknown format")
    with pytest.raises(RuleError, match="unknown format 'zip'"):
        parse_set(b"", "x", "zip")


def test_lists_within_files(tmp_path: Path) -> None:
    (tmp_path / "geosite.dat").write_bytes(GEOSITE)
    (tmp_path / "geoip.dat").write_bytes(GEOIP)
    (tmp_path / "country.mmdb").write_bytes(make_mmdb({"10.0.0.0/8": "aa"}, "sing-geoip"))
    assert read_set(tmp_path / "geosite.dat", query="second").suffix == ["second.example"]
    assert read_set(tmp_path / "geoip.dat", query="aa").ranges[0] == (4, 0xC0000200, 0xC00002FF)
    assert read_set(tmp_path / "country.mmdb", query="AA").ranges == [(4, 10 << 24, (11 << 24) - 1)]


def test_missing_file_and_unknown_format_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="cannot read the file: no such file"):
        read_set(tmp_path / "none")
    with pytest.raises(RuleError, match="cannot read the file: is a directory"):
        read_set(tmp_path)
    with pytest.raises(RuleError, match="unknown format 'zip'"):
        read_set(tmp_path / "none", "zip")


def test_large_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(files.MAX_FILE + 1)  # a hole, which takes no room
    with pytest.raises(RuleError, match="more than"):
        read_set(tmp_path / "a")


def test_reading_takes_no_more_room_than_the_file(tmp_path: Path) -> None:
    """A service may be given little memory: what is asked for and not used counts as well."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"DOMAIN,a.com\n" * 300_000)
    tracemalloc.start()
    try:
        assert read_octets(path) == path.read_bytes()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * path.stat().st_size


def test_pipe_that_nobody_writes_to_is_no_file(tmp_path: Path) -> None:
    """Nobody would ever come back from a reload that waits for one."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(RuleError, match="cannot read the file: it is a pipe that nobody writes to"):
        read_octets(path)
    with pytest.raises(OSError, match="pipe"):
        read_up_to(path, 5)


def test_pipe_that_somebody_writes_to_is_read_to_its_end() -> None:
    """As a shell's <(command) is, whenever that comes to say something."""
    ours, theirs = os.pipe()

    def write() -> None:
        for _ in range(3):
            os.write(theirs, b"x" * 50_000)
        os.close(theirs)

    writer = threading.Timer(0.1, write)
    writer.start()
    try:
        assert read_octets(f"/dev/fd/{ours}") == b"x" * 150_000
    finally:
        writer.join()
        os.close(ours)


@pytest.mark.parametrize(("most", "read"), [(0, 0), (1, 1), (9, 9), (10, 10), (11, 10), (5 << 20, 10)])
def test_no_more_is_read_than_is_wanted(tmp_path: Path, most: int, read: int) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    assert read_up_to(tmp_path / "f", most) == b"0123456789"[:read]
    assert len(read_up_to("/dev/zero", 3 << 20)) == 3 << 20
