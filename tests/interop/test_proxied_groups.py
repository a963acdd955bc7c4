"""Groups of real proxies: who carries a flow, and what becomes of the others when one of them dies.

Each member's connections come from an address of its own, so that the web server tells whose they are.
"""

import time
from collections.abc import Iterator

import pytest

from tests.interop.proxied import SLOW, WEB, Up, serve
from tests.interop.proxies import TARGET, ProxyLab
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, eventually
from tests.system.namespace import Program

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("nginx", "microsocks", "curl"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

MEMBERS = {"a": (2101, "198.51.100.11"), "b": (2102, "198.51.100.12"), "c": (2103, "198.51.100.13")}
TESTED = f'url = "http://{TARGET}:{WEB}/204"\ninterval = 1\ntimeout = 10\n'


class Members:
    """The proxies, which can die and come back."""

    def __init__(self, lab: ProxyLab) -> None:
        self._lab = lab
        self._programs: dict[str, Program] = {}
        for _, address in MEMBERS.values():
            lab.world.ip("address", "add", f"{address}/32", "dev", "lo")

    def start(self, *names: str) -> None:
        for name in names:
            if name in self._programs:
                continue
            port, address = MEMBERS[name]
            argv = ("microsocks", "-i", WORLD_IPV4, "-p", str(port), "-b", address)
            self._programs[name] = self._lab.world.spawn(*argv, log=self._lab.scratch / f"{name}.log")
            assert eventually(lambda port=port: self._answers(port), 20)

    def kill(self, *names: str) -> None:
        for name in names:
            program = self._programs.pop(name)
            program.process.kill()
            program.stop()

    def stop(self) -> None:
        self.kill(*self._programs)

    def _answers(self, port: int) -> bool:
        try:
            self._lab.world.connect(WORLD_IPV4, port, timeout=1).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made:
        for _ in serve(made):
            yield made


@pytest.fixture(scope="module")
def all_members(lab: ProxyLab) -> Iterator[Members]:
    made = Members(lab)
    yield made
    made.stop()


@pytest.fixture
def members(all_members: Members) -> Members:
    all_members.start(*MEMBERS)
    return all_members


def configured(lab: ProxyLab, group: str, name: str = "group.toml") -> str:
    """Write a configuration that sends everything through a group; return its path."""
    text = 'default = "group"\n[dns]\nmode = "off"\n'
    for member, (port, _) in MEMBERS.items():
        text += f'[upstreams.{member}]\ntype = "socks5"\nserver = "{WORLD_IPV4}"\nport = {port}\n'
    return lab.settings(name, f"{text}[groups.group]\n{group}")


def whose(lab: ProxyLab) -> str:
    """Return which member carries a request, or what curl says where none does."""
    done = lab.host.run("curl", "-sS", "--max-time", "20", f"http://{TARGET}:{WEB}/whence")
    by_address = {address: name for name, (_, address) in MEMBERS.items()}
    return by_address.get(done.stdout.strip(), done.stdout + done.stderr)


def test_select_takes_the_chosen_one_and_a_reload_another(lab: ProxyLab, members: Members) -> None:
    group = 'type = "select"\nmembers = ["a", "b"]\nselected = "%s"\n'
    path = configured(lab, group % "b")
    with Up(lab, "--config", path, name="select") as up:
        assert [whose(lab) for _ in range(3)] == ["b"] * 3
        with lab.host.connect(TARGET, SLOW) as old:
            configured(lab, group % "a")
            assert eventually(lambda: whose(lab) == "a", 20)
            assert old.recv(100)
            members.kill("a")
            assert "Connection refused" in whose(lab) or "connect to server" in whose(lab)
            assert old.recv(100)
        up.check()


def test_fallback_goes_to_the_next_and_comes_back(lab: ProxyLab, members: Members) -> None:
    path = configured(lab, f'type = "fallback"\nmembers = ["a", "b"]\n{TESTED}')
    with Up(lab, "--config", path, name="fallback") as up:
        assert whose(lab) == "a"
        members.kill("a")
        assert eventually(lambda: whose(lab) == "b", 20)
        assert [whose(lab) for _ in range(10)] == ["b"] * 10
        members.start("a")
        assert eventually(lambda: whose(lab) == "a", 20)
        members.kill("a", "b")
        assert whose(lab) not in MEMBERS
        members.start("b")
        assert eventually(lambda: whose(lab) == "b", 20)
        up.check()


def test_url_test_leaves_the_one_that_died(lab: ProxyLab, members: Members) -> None:
    path = configured(lab, f'type = "url-test"\nmembers = ["a", "b", "c"]\n{TESTED}')
    with Up(lab, "--config", path, name="url-test") as up:
        for left in (2, 1):
            chosen = whose(lab)
            assert chosen in MEMBERS
            members.kill(chosen)
            assert eventually(lambda: whose(lab) in MEMBERS, 20), left
        up.check()


def test_load_balance_takes_turns_among_those_who_live(lab: ProxyLab, members: Members) -> None:
    group = f'type = "load-balance"\nstrategy = "round-robin"\nmembers = ["a", "b", "c"]\n{TESTED}'
    with Up(lab, "--config", configured(lab, group), name="load-balance") as up:
        carried = [whose(lab) for _ in range(9)]
        assert {name: carried.count(name) for name in MEMBERS} == dict.fromkeys(MEMBERS, 3)
        members.kill("b")
        assert eventually(lambda: [whose(lab) for _ in range(4)].count("a") == 2, 20)
        carried = [whose(lab) for _ in range(8)]
        assert (carried.count("a"), carried.count("c")) == (4, 4)
        up.check()


def test_load_balance_by_hash_sends_one_target_one_way(lab: ProxyLab, members: Members) -> None:
    group = f'type = "load-balance"\nmembers = ["a", "b", "c"]\n{TESTED}'
    with Up(lab, "--config", configured(lab, group), name="hash") as up:
        chosen = whose(lab)
        assert [whose(lab) for _ in range(8)] == [chosen] * 8
        members.kill(chosen)
        assert eventually(lambda: whose(lab) in MEMBERS, 20)
        other = whose(lab)
        assert other != chosen
        assert [whose(lab) for _ in range(8)] == [other] * 8
        up.check()


def test_relay_goes_through_both_and_tells_which_is_missing(lab: ProxyLab, members: Members) -> None:
    path = configured(lab, 'type = "relay"\nmembers = ["a", "b"]\n')
    with Up(lab, "--config", path, name="relay") as up:
        assert whose(lab) == "b"
        members.kill("b")
        assert whose(lab) not in MEMBERS
        assert up.says("a cannot reach b")
        members.start("b")
        members.kill("a")
        assert whose(lab) not in MEMBERS
        assert up.says("cannot reach the proxy: connection refused")
        members.start("a")
        assert whose(lab) == "b"


def test_member_that_dies_in_a_download_ends_it_at_once(lab: ProxyLab, members: Members) -> None:
    path = configured(lab, f'type = "fallback"\nmembers = ["a", "b"]\n{TESTED}')
    with Up(lab, "--config", path, name="dies") as up:
        before = up.descriptors()
        with lab.host.connect(TARGET, SLOW) as client:
            assert client.recv(100)
            members.kill("a")
            began = time.monotonic()
            try:
                while client.recv(100):
                    pass
            except ConnectionResetError:
                pass
            assert time.monotonic() - began < 10
        assert eventually(lambda: whose(lab) == "b", 20)
        assert up.has_at_most(before + 1)  # a test may be under way
        up.check()
