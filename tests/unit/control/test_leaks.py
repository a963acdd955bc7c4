"""Leaks in words, and in the document."""

import asyncio
import os
from collections.abc import Sequence

import pytest

from tunproxy.control import leaks
from tunproxy.control.leaks import LeakCounter, in_words, user_name
from tunproxy.errors import SystemChangeError
from tunproxy.host.leak_table import Leak
from tunproxy.host.scope import Scope

FOUND = [
    Leak("eth0", 0, "udp", 53, 1200),
    Leak("eth0", 47_117, "tcp", 853, 3),
    Leak("wlan0", 0, "udp", 53, 2),
]


class Table:
    """In place of a table of the kernel's."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.made_with = (arguments, options)
        self.found: Sequence[Leak] | str = FOUND
        self.is_closed = False
        made.append(self)

    def read(self) -> Sequence[Leak]:
        if isinstance(self.found, str):
            raise SystemChangeError(self.found)
        return self.found

    def restart(self) -> None:
        if isinstance(self.found, str):
            raise SystemChangeError(self.found)
        self.found = []

    def close(self) -> None:
        self.is_closed = True


made: list[Table] = []


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> LeakCounter:
    made.clear()
    monkeypatch.setattr(leaks, "LeakTable", Table)
    return LeakCounter("tun0", uid=60_777, mark=7, spared=["192.0.2.9"])


def test_document_has_them_by_interface_and_by_user(counter: LeakCounter) -> None:
    async def check() -> None:
        assert counter.document()["why"] == "counting has not begun"
        async with counter.counting():
            assert made[0].made_with == (
                ("tun0",),
                {
                    "uid": 60_777,
                    "mark": 7,
                    "spared": ("192.0.2.9",),
                    "scope": Scope(),
                },
            )
            document = counter.document()
            assert (document["is_counted"], document["why"], document["packets"]) == (True, "", 1205)
            assert document["interfaces"] == {"eth0": {"udp/53": 1200, "tcp/853": 3}, "wlan0": {"udp/53": 2}}
            assert document["users"][1] == {  # type: ignore[index]
                "uid": 47_117, "user": "uid 47117", "interface": "eth0", "way": "tcp/853", "packets": 3,
            }  # fmt: skip
            [problem] = counter.problems()
            assert problem == in_words(FOUND)
            counter.restart()
            assert counter.problems() == []
        assert made[0].is_closed

    asyncio.run(check())


def test_why_nothing_is_counted_is_said(
    counter: LeakCounter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise SystemChangeError("cannot use nftables: it is missing")

    async def check() -> None:
        async with counter.counting():
            made[0].found = "it is gone"
            assert counter.document()["why"] == "it is gone"
            assert counter.document()["is_counted"] is False
            counter.restart()
            assert counter.why == "it is gone"
            made[0].found = FOUND
            assert counter.document()["is_counted"] is True
        monkeypatch.setattr(leaks, "LeakTable", missing)
        async with counter.counting():
            assert counter.document()["why"] == "cannot use nftables: it is missing"
            assert counter.problems() == []
        said = capfd.readouterr().err
        assert said.count("names that leave past us are not counted: cannot use nftables: it is missing") == 1
        aside = LeakCounter("tun0", uid=1, why_not="only some networks are routed here")
        async with aside.counting():
            assert aside.document()["why"] == "only some networks are routed here"

    asyncio.run(check())


def test_resolvers_that_are_spared_from_now_on_are_not_counted_any_more(counter: LeakCounter) -> None:
    async def check() -> None:
        counter.spare(["192.0.2.8"])
        async with counter.counting():
            counter.spare(["192.0.2.8"])
            assert [each.made_with[1]["spared"] for each in made] == [("192.0.2.8",)]
            counter.spare([])
            assert [each.made_with[1]["spared"] for each in made] == [("192.0.2.8",), ()]
            assert [each.is_closed for each in made] == [True, False]
        assert made[1].is_closed

    asyncio.run(check())


def test_words_name_the_largest_and_their_users() -> None:
    assert in_words(FOUND) == (
        "1,205 packets that asked for names left past us: 1,200 by root over eth0 (DNS, udp/53), "
        "3 by uid 47117 over eth0 (DNS over TLS, tcp/853), 2 by root over wlan0 (DNS, udp/53)"
    )
    many = [Leak(f"eth{number}", 0, "udp", 53, 1) for number in range(7)]
    assert in_words(many).endswith("1 by root over eth4 (DNS, udp/53), others")
    assert in_words(many[:1]).startswith("1 packet that asked")


def test_user_without_an_account_is_a_number() -> None:
    assert user_name(os.getuid() if os.getuid() == 0 else 0) == "root"
    assert user_name(47_117) == "uid 47117"
