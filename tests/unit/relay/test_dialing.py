"""From a target to a socket: names that lead astray, attempts in turn, and honest failures."""

import socket

import pytest

from tests.unit.relay.world import nobody, run, target
from tunproxy.relay.dialing import Dialer, End, can_be_a_name
from tunproxy.relay.failures import DENIED, NO_NAME, REFUSED, TIMED_OUT, RequestFailed
from tunproxy.relay.targets import Targets, parse_entry

LOOPBACK = Targets([parse_entry("127.0.0.0/30")], [parse_entry("bad.test")])


def dialer(*addresses: str, limit: float = 10.0) -> Dialer:
    """Return a dialer for which every name has these addresses."""

    def resolve(name: str) -> list[End]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "none")
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in addresses]

    return Dialer(LOOPBACK, limit, resolve)


def failure(what: Dialer, host: str, port: int) -> RequestFailed:
    async def ask() -> None:
        (await what.connect(host, port)).close()

    with pytest.raises(RequestFailed) as caught:
        run(ask)
    what.close()
    return caught.value


def test_address_is_dialled() -> None:
    async def ask() -> str:
        with target() as (listener, port), await dialer().connect("127.0.0.1", port) as sock:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            listener.accept()[0].close()
            return str(sock.getpeername()[0])

    assert run(ask) == "127.0.0.1"


def test_addresses_of_a_name_are_tried_in_turn() -> None:
    async def ask() -> str:
        with target() as (_, port), await dialer("127.0.0.2", "127.0.0.1").connect("a.test", port) as sock:
            return str(sock.getpeername()[0])

    assert run(ask) == "127.0.0.1"


def test_every_address_of_a_name_is_judged() -> None:
    """DNS rebinding: what was looked up is what is dialled, and only where it may be."""
    port = nobody()
    refused = failure(dialer("10.0.0.1", "127.0.0.9", "169.254.169.254", "::1"), "a.test", port)
    assert refused.kind == DENIED
    assert (
        failure(dialer("10.0.0.1", "127.0.0.1"), "a.test", port).kind == REFUSED
    )  # only the second was tried


def test_name_that_is_refused_is_not_looked_up() -> None:
    assert failure(dialer(), "bad.test", 80).kind == DENIED
    assert failure(dialer(), "other.test", 80).kind == NO_NAME


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1"])
def test_other_ways_to_write_an_address_are_judged_as_what_they_lead_to(host: str) -> None:
    judge = Dialer(Targets(), 10.0)
    assert failure(judge, host, 80).kind == DENIED


def test_failures_tell_the_truth() -> None:
    assert failure(dialer(), "127.0.0.1", nobody()).kind == REFUSED
    assert failure(dialer(), "127.0.0.1", 0).kind == DENIED
    assert failure(dialer(), "a b", 80).kind == NO_NAME
    assert failure(dialer(), "a" * 300, 80).kind == NO_NAME


def test_silent_target_is_given_up() -> None:
    """A queue that is full answers no SYN."""

    async def ask() -> str:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for each in fillers:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            try:
                (await dialer(limit=0.3).connect("127.0.0.1", port)).close()
            except RequestFailed as error:
                return error.kind
            finally:
                for each in fillers:
                    each.close()
        return "connected"

    assert run(ask) == TIMED_OUT


def test_who_may_answer_is_who_may_be_asked() -> None:
    judge = dialer()
    assert judge.may_answer("127.0.0.1", 53)
    assert not judge.may_answer("127.0.0.77", 53)
    assert not judge.may_answer("10.0.0.1", 53)
    assert judge.may_answer("192.0.2.7", 53)


@pytest.mark.parametrize(
    ("host", "can"), [("a.test", True), ("", False), ("a\x00b", False), ("a/b", False), ("é", False)]
)
def test_names(host: str, can: bool) -> None:
    assert can_be_a_name(host) is can
