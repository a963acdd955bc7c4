"""What is said of the host's limits, its clock and its resolvers."""

import resource
from typing import cast

import pytest

from tests.unit.doctor.looks import Ways
from tunproxy.doctor import limits
from tunproxy.doctor.finding import State
from tunproxy.host.netlink import Netlink, Way


@pytest.mark.parametrize(
    ("hard", "state"), [(1024, State.ODD), (20_000, State.FINE), (resource.RLIM_INFINITY, State.FINE)]
)
def test_few_descriptors_are_told(hard: int, state: State) -> None:
    assert limits.judge_descriptors(hard).state is state


@pytest.mark.parametrize(
    ("is_synchronized", "state"), [(True, State.FINE), (False, State.ODD), (None, State.UNKNOWN)]
)
def test_clock_is_judged_by_who_keeps_it(is_synchronized: bool | None, state: State) -> None:
    assert limits.judge_clock(is_synchronized).state is state


def test_kernel_is_asked_about_the_clock() -> None:
    assert limits.is_clock_synchronized() in (True, False, None)


@pytest.mark.parametrize(
    ("resolver", "way", "state", "says"),
    [
        ("127.0.0.53", None, State.FINE, "a program on this host"),
        ("192.0.2.53", Way("tun0", "", ""), State.FINE, "go to tun0"),
        ("192.0.2.53", Way("eth0", "192.0.2.1", ""), State.ODD, "past tun0"),
        ("192.0.2.53", None, State.BROKEN, "cannot be reached"),
    ],
)
def test_resolver_is_judged_by_where_its_questions_go(
    resolver: str, way: Way | None, state: State, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "read_host_settings", lambda: f"nameserver {resolver}\n")
    kernel = Ways(Way("wrong", "", ""), p17_53=way)
    [found] = limits.judge_names(cast(Netlink, kernel), ["tun0"], 1000)
    assert found.state is state
    assert says in found.says
