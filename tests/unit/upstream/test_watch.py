"""What groups wish, and what is kept of an upstream that was tested before."""

import pytest

from tunproxy.errors import ConfigError
from tunproxy.upstream.base import DialUpstream
from tunproxy.upstream.watch import Entry, Exploration, Plan, Watch, kept

URL = "http://h/"


class Proxy(DialUpstream):
    """At some address."""

    def __init__(self, host: str) -> None:
        super().__init__("work")
        self.host = host


class OtherKind(Proxy):
    """The same name and address, spoken to differently."""


def test_plan_with_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot test with the URL 'nonsense'"):
        Plan(url="nonsense")


@pytest.mark.parametrize("is_lazy", [True, False])
def test_watch_of_a_lazy_group_begins_asleep(is_lazy: bool) -> None:
    watch = Watch([DialUpstream("a")], Plan(is_lazy=is_lazy))
    assert watch.is_asleep is is_lazy
    assert watch.used_at == float("-inf")


def test_record_of_the_same_upstream_is_kept() -> None:
    entry = Entry(kept(None, Proxy("192.0.2.1"), URL))
    entry.record.failed("no answer", 1.0)
    again = Proxy("192.0.2.1")
    record = kept(entry, again, URL)
    assert record is entry.record
    assert record.upstream is again
    assert Exploration(again).name == entry.name == "work"


@pytest.mark.parametrize("other", [Proxy("192.0.2.2"), OtherKind("192.0.2.1")])
def test_record_of_another_upstream_is_new(other: Proxy) -> None:
    entry = Entry(kept(None, Proxy("192.0.2.1"), URL))
    entry.record.failed("no answer", 1.0)
    record = kept(entry, other, URL)
    assert (record.upstream, record.history) == (other, [])
