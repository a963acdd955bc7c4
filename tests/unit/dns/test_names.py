"""Which name is meant by an address."""

from tests.unit.dns.world import CLIENT, OTHER, SECOND
from tunproxy.dns.names import GRACE, MAX_CANDIDATES, NOTHING, FakeNames, NameTable

ONE, TWO = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


def test_name_is_known_for_each_of_its_addresses() -> None:
    table = NameTable()
    table.add(CLIENT, "www.example", (ONE, TWO), 60, 0)
    assert table.lookup(CLIENT, TWO, 1) == ("www.example", "dns", ("www.example",))
    assert table.lookup(CLIENT, ONE, 1).host == "www.example"


def test_name_is_another_clients_business() -> None:
    table = NameTable()
    table.add(CLIENT, "www.example", (ONE,), 60, 0)
    table.add(OTHER, "other.example", (ONE,), 60, 0)
    assert table.lookup(CLIENT, ONE, 1).candidates == ("www.example",)
    assert table.lookup(OTHER, ONE, 1).candidates == ("other.example",)
    assert table.lookup(OTHER, TWO, 1) is NOTHING
    assert table.lookup(bytes(4), ONE, 1) is NOTHING


def test_newest_name_comes_first_and_the_others_are_named() -> None:
    table = NameTable()
    for name in ("a.example", "b.example", "c.example", "a.example"):
        table.add(CLIENT, name, (ONE,), 60, 0)
    assert table.lookup(CLIENT, ONE, 1).candidates == ("a.example", "c.example", "b.example")


def test_name_outlives_its_ttl_for_a_while() -> None:
    table = NameTable()
    table.add(CLIENT, "www.example", (ONE,), 60, 0)
    assert table.lookup(CLIENT, ONE, 60 * SECOND + GRACE - 1).host == "www.example"
    assert table.lookup(CLIENT, ONE, 60 * SECOND + GRACE) is NOTHING


def test_old_candidates_fall_out() -> None:
    table = NameTable()
    table.add(CLIENT, "old.example", (ONE,), 60, 0)
    table.add(CLIENT, "new.example", (ONE,), 6000, SECOND)
    assert table.lookup(CLIENT, ONE, 60 * SECOND + GRACE).candidates == ("new.example",)


def test_names_of_an_address_are_bounded() -> None:
    table = NameTable()
    for number in range(100):
        table.add(CLIENT, f"n{number}.example", (ONE,), 60, 0)
    found = table.lookup(CLIENT, ONE, 1)
    assert len(found.candidates) == MAX_CANDIDATES
    assert found.host == "n99.example"
    assert len(table) == 1


def test_addresses_of_a_client_are_bounded_and_the_oldest_goes() -> None:
    table = NameTable(max_of_client=2)
    for number in range(3):
        table.add(CLIENT, f"n{number}.example", (bytes((192, 0, 2, number)),), 60, 0)
    known = [table.lookup(CLIENT, bytes((192, 0, 2, number)), 1).host for number in range(3)]
    assert known == ["", "n1.example", "n2.example"]
    assert len(table) == 2


def test_total_is_bounded_at_the_cost_of_who_asked_longest_ago() -> None:
    table = NameTable(max_names=3)
    table.add(OTHER, "other.example", (ONE, TWO), 60, 0)
    table.add(CLIENT, "www.example", (ONE, TWO), 60, 0)
    assert table.lookup(OTHER, ONE, 1) is NOTHING
    assert table.lookup(OTHER, TWO, 1).host == "other.example"
    assert table.lookup(CLIENT, ONE, 1).host == "www.example"
    table.add(CLIENT, "www.example", (bytes(4),), 60, 0)
    assert table.lookup(OTHER, TWO, 1) is NOTHING
    assert len(table) == 3


def test_nothing_told_is_nothing_kept() -> None:
    table = NameTable()
    table.add(CLIENT, "www.example", (), 60, 0)
    assert len(table) == 0


def test_fake_address_has_one_name_or_has_lost_it() -> None:
    class Fakes(FakeNames):
        def has(self, address: bytes) -> bool:
            return address in (ONE, TWO)

        def name_of(self, address: bytes) -> str:
            return "fake.example" if address == ONE else ""

    table = NameTable(Fakes())
    table.add(CLIENT, "www.example", (ONE, bytes(4)), 60, 0)
    assert table.lookup(CLIENT, ONE, 1) == ("fake.example", "fake-ip", ("fake.example",))
    assert table.lookup(CLIENT, TWO, 1) == ("", "fake-ip", ())
    assert table.lookup(CLIENT, bytes(4), 1).whence == "dns"


def test_what_is_told_can_be_learnt_by_another_table_at_once_and_later() -> None:
    first, second, third = NameTable(), NameTable(), NameTable()
    first.told = second.learn
    first.add(CLIENT, "a.example", (ONE, TWO), 60, 0)
    first.add(CLIENT, "b.example", (ONE,), 5, SECOND)
    for client, name, address, ttl, at in first.known(2 * SECOND):
        third.learn(client, name, (address,), ttl, at)
    for table in (second, third):
        assert table.lookup(CLIENT, ONE, 2 * SECOND).candidates == ("b.example", "a.example")
        assert table.lookup(CLIENT, TWO, 60 * SECOND + GRACE - 1).host == "a.example"
        assert table.lookup(CLIENT, ONE, 6 * SECOND + GRACE).candidates == ("a.example",)
    assert list(first.known(100 * SECOND + GRACE)) == []


def test_look_up_waits_for_what_could_be_learnt() -> None:
    table = NameTable()
    table.before_lookup = lambda: table.learn(CLIENT, "late.example", (ONE,), 60, 0)
    assert table.lookup(CLIENT, ONE, 1).host == "late.example"
