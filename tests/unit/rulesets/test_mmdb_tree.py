"""The tree of a database, walked as a whole."""

from pathlib import Path
from types import SimpleNamespace

import maxminddb
import pytest

from tests.unit.rulesets.mmdb_maker import make_mmdb
from tunproxy.rulesets.mmdb_tree import FAULTS, find_ranges


def test_same_as_maxminddb_finds(tmp_path: Path) -> None:
    records = {f"10.{number}.0.0/16": "ab"[number % 2] for number in range(64)} | {
        "2001:db8::/33": "a",
        "fd00::/8": "b",
    }
    (tmp_path / "a.mmdb").write_bytes(make_mmdb(records, "sing-geoip"))
    with maxminddb.open_database(str(tmp_path / "a.mmdb")) as reader:
        found = find_ranges(
            (tmp_path / "a.mmdb").read_bytes(), reader.metadata(), lambda record: record == "a"
        )
        wanted = [(net.version, int(net[0]), int(net[-1])) for net, record in reader if record == "a"]
    assert found == wanted


def test_neighbours_are_joined() -> None:
    data = make_mmdb({"10.0.0.0/9": "a", "10.128.0.0/9": "a"}, "sing-geoip", version=4)
    about = SimpleNamespace(node_count=9, record_size=28, ip_version=4)
    assert find_ranges(data, about, lambda record: True) == [(4, 0x0A000000, 0x0AFFFFFF)]


def test_circle_ends() -> None:
    about = SimpleNamespace(node_count=2, record_size=24, ip_version=6)
    tree = b"\0\0\1\0\0\1" + b"\0\0\0\0\0\1"
    assert find_ranges(tree + bytes(32), about, lambda record: True) == []


@pytest.mark.parametrize(("count", "size"), [(5, 24), (1, 20), (1, 28)])
def test_tree_that_is_cut_off_is_a_fault(count: int, size: int) -> None:
    with pytest.raises(FAULTS):
        find_ranges(
            bytes(5), SimpleNamespace(node_count=count, record_size=size, ip_version=4), lambda record: True
        )
