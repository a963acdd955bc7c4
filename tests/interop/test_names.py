"""Names, through the whole program: dig and curl inside, dnsmasq and unbound outside."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import pytest

from tests.interop.resolvers import (
    LIAR,
    LONG,
    NAME,
    TTL,
    UNBOUND,
    WEB,
    Resolvers,
    dante,
    lying,
    running,
    socks_server,
)
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import TUNPROXY, WORLD_IPV4, WORLD_IPV6, HostLab, eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("dig", "curl", "dnsmasq", "unbound", "nginx", "openssl"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN = "names0"  # not what others at this machine may be called
DIG = "dig +tries=1 +time=10"
DANTE_PORT = 1081
NOBODY = "203.0.113.53"  # whom programs ask: it is not there, and need not be


@dataclass
class Place:
    """The lab with its resolvers, and a folder for configurations."""

    lab: HostLab
    resolvers: Resolvers
    scratch: Path

    def configured(self, dns: str, top: str = "", tables: str = "") -> str:
        """Return the path of a configuration."""
        path = self.scratch / "tunproxy.toml"
        path.write_text(f"{top}\n[dns]\nhosts-file = false\n{dns}\n{tables}\n")
        return str(path)

    def inside(self, script: str, config: str) -> tuple[str, str]:
        """Run a shell script by tunproxy exec; return its output, and what tunproxy said."""
        done = self.lab.run(*TUNPROXY, "exec", "--config", config, "--", "sh", "-c", script)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HostLab, Resolvers]]:
    with (
        HostLab() as lab,
        running(lab, tmp_path_factory.mktemp("resolvers")) as resolvers,
        lab.web_server(WEB, 80),
    ):
        yield lab, resolvers


@pytest.fixture
def place(world: tuple[HostLab, Resolvers], tmp_path: Path) -> Iterator[Place]:
    yield Place(*world, tmp_path)
    world[0].stop_all()


def servers(place: Place, way: str) -> str:
    """Return the lines of [dns] that name one resolver, asked in one way."""
    location = {
        "udp": WORLD_IPV4,
        "udp6": WORLD_IPV6,
        "tcp": f"tcp://{WORLD_IPV4}",
        "unbound": UNBOUND,
        "tls": f"tls://{NAME}@{WORLD_IPV4}",
        "tls by name": f"tls://{NAME}",
        "https": f"https://{NAME}@{WORLD_IPV4}/dns-query",
        "https by name": f"https://{NAME}/dns-query",
    }[way]
    return f'servers = ["{location}"]\nbootstrap = ["{WORLD_IPV4}"]\nca-file = "{place.resolvers.ca}"'


@pytest.mark.parametrize(
    "way", ["udp", "udp6", "tcp", "unbound", "tls", "tls by name", "https", "https by name"]
)
def test_names_are_found_by_every_way(place: Place, way: str) -> None:
    """The program asks over UDP and TCP; for what is too long for a datagram, and what is not there."""
    out, err = place.inside(
        f"{DIG} +short @{NOBODY} www.site.test; echo; {DIG} +tcp +short @{NOBODY} www.site.test; echo; "
        f"{DIG} +short @{NOBODY} long.site.test TXT; echo; {DIG} @{NOBODY} none.site.test | grep -o NXDOMAIN",
        place.configured(servers(place, way)),
    )
    first, over_tcp, long, none = out.split("\n\n")
    assert (first, over_tcp, none) == (WEB, WEB, "NXDOMAIN\n"), err
    assert sorted(text.strip('"') for text in long.splitlines()) == LONG
    assert err == ""


@pytest.mark.parametrize("way", ["udp", "unbound"])
def test_resolvers_are_asked_with_capitals_by_chance_and_nobody_notices(place: Place, way: str) -> None:
    program = place.resolvers.dnsmasq if way == "udp" else place.resolvers.unbound
    names = [f"long-enough-for-chance-{place.resolvers.fresh()}" for _ in range(3)]
    for option in ("", "random-capitals = false\n") if way == "udp" else ("",):
        seen = len(program.log.read_text())
        config = place.configured(option + servers(place, way))
        out, err = place.inside(f"{DIG} +noall +answer @{NOBODY} {' '.join(names)}", config)
        assert [line.split()[0] for line in out.splitlines()] == [f"{name}." for name in names], err
        assert err == ""
        asked = [line for line in program.log.read_text()[seen:].splitlines() if "any.test" in line.lower()]
        assert len(asked) >= 3
        assert any(name in line for name in names for line in asked) is bool(option)


def test_resolver_that_does_not_keep_capitals_is_asked_without(place: Place) -> None:
    """Over UDP only: there is nobody at its TCP port."""
    name = f"long-enough-for-chance-{place.resolvers.fresh()}"

    def own_way(query: bytes) -> list[bytes]:
        plain = dns.message.from_wire(query[:12] + query[12:].lower())
        response = dns.message.make_response(plain)
        response.answer.append(dns.rrset.from_text(plain.question[0].name, 60, "IN", "A", WEB))
        return [response.to_wire()]

    with lying(place.lab, own_way) as asked:
        config = place.configured(f'servers = ["{LIAR}"]')
        out, err = place.inside(f"{DIG} +short @{NOBODY} {name} more-{name} third-{name}", config)
    assert (out.split(), err) == ([WEB] * 3, "")
    assert asked == [name, name, f"more-{name}", f"third-{name}"]


def test_answer_is_asked_for_once_and_grows_old(place: Place) -> None:
    name = place.resolvers.fresh()
    began = time.monotonic()
    out, _ = place.inside(
        f"{DIG} +noall +answer @{NOBODY} {name}; sleep 2; {DIG} +noall +answer +tcp @{WEB} {name}",
        place.configured(servers(place, "udp")),
    )
    took = time.monotonic() - began
    first, second = (int(line.split()[1]) for line in out.splitlines())
    assert first == TTL
    assert TTL - 1 - took <= second <= TTL - 2
    assert place.resolvers.asked(place.resolvers.dnsmasq, name) == 1


def test_many_names_in_one_run(place: Place) -> None:
    names = place.scratch / "names"
    names.write_text("".join(f"{place.resolvers.fresh()}\n" for _ in range(200)))
    out, err = place.inside(f"{DIG} +short @{NOBODY} -f {names}", place.configured(servers(place, "udp")))
    assert (out.split(), err) == ([WEB] * 200, "")


def test_rule_about_a_name_refuses_it_and_nothing_else_at_its_address(place: Place) -> None:
    """The name is known from the answer; the address has other names as well."""
    config = place.configured(servers(place, "udp"), 'rules = ["DOMAIN-SUFFIX,blocked.test,REJECT"]')
    visit = "curl -sS --max-time 10 http://{}/ 2>&1; echo =$?"
    out, _ = place.inside(visit.format("www.blocked.test"), config)
    assert out.endswith("=7\n"), out
    assert place.inside(visit.format("www.site.test"), config)[0] == "hello from nginx\n=0\n"
    assert place.inside(visit.format(WEB), config)[0] == "hello from nginx\n=0\n"


def test_rule_about_a_name_holds_for_all_of_the_host(place: Place) -> None:
    """tunproxy up, whose own questions to resolvers do not come back to it."""
    config = place.configured(servers(place, "udp"), 'rules = ["DOMAIN-SUFFIX,blocked.test,REJECT"]')
    place.lab.start_up("--config", config)
    for transport in ("+notcp", "+tcp"):
        name = place.resolvers.fresh()
        done = place.lab.host.run(*DIG.split(), transport, "+short", f"@{UNBOUND}", name)
        assert done.stdout == f"{WEB}\n"
        assert place.resolvers.asked(place.resolvers.unbound, name) == 0, "we have answered"
        assert place.resolvers.asked(place.resolvers.dnsmasq, name) == 1
    machine: dict[str, object] = {"resolver": "file", "settings": f"nameserver {NOBODY}\n"}
    for name, expected in (("www.blocked.test", 7), ("www.site.test", 0)):
        done = place.lab.run("curl", "-sS", "--max-time", "10", f"http://{name}/", machine=machine)
        assert done.returncode == expected, done.stderr


def test_resolver_that_is_excepted_is_asked_by_programs_themselves(place: Place) -> None:
    name = place.resolvers.fresh()
    before = place.resolvers.asked(place.resolvers.unbound, name)
    config = place.configured(servers(place, "udp") + f'\nhijack-except = ["{UNBOUND}"]')
    for transport in ("+notcp", "+tcp"):
        assert place.inside(f"{DIG} {transport} +short @{UNBOUND} {name}", config)[0] == f"{WEB}\n"
    assert place.resolvers.asked(place.resolvers.unbound, name) == before + 2
    assert place.resolvers.asked(place.resolvers.dnsmasq, name) == 0


def test_off_leaves_questions_be(place: Place) -> None:
    name = place.resolvers.fresh()
    out, _ = place.inside(f"{DIG} +short @{UNBOUND} {name}", place.configured('mode = "off"'))
    assert out == f"{WEB}\n"
    assert place.resolvers.asked(place.resolvers.unbound, name) == 1


def test_names_of_a_domain_are_asked_of_its_resolver_only(place: Place) -> None:
    tables = f'[dns.domains]\n"corp.test" = ["{UNBOUND}"]\n[dns.hosts]\n"nas.lan" = "192.0.2.99"\n'
    out, _ = place.inside(
        f"{DIG} +short @{NOBODY} host.corp.test; {DIG} +short @{NOBODY} nas.lan; "
        f"{DIG} +short @{NOBODY} -x 192.0.2.99",
        place.configured(servers(place, "udp"), tables=tables),
    )
    assert out.split() == [WEB, "192.0.2.99", "nas.lan."]
    assert place.resolvers.asked(place.resolvers.dnsmasq, "host.corp.test") == 0
    assert place.resolvers.asked(place.resolvers.dnsmasq, "nas.lan") == 0


def test_fake_address_brings_the_name_to_a_socks_server(place: Place) -> None:
    """Nobody is asked for its address: the name that the proxy gets is the one that the program meant."""
    name = place.resolvers.fresh()
    config = place.configured(
        f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = ""',
        'default = "proxy"',
        f'[upstreams.proxy]\ntype = "socks5"\nserver = "{WORLD_IPV4}"\nport = 1080',
    )
    with socks_server(place.lab, WORLD_IPV4, 1080) as asked:
        out, err = place.inside(
            f"{DIG} +noall +answer @{NOBODY} {name}; curl -sS --max-time 10 http://{name}/", config
        )
    answer, _, hello = out.partition("\n")
    assert re.fullmatch(rf"{re.escape(name)}\.\s+1\s+IN\s+A\s+198\.18\.0\.\d+", answer), out + err
    assert hello == "hello from nginx\n", err
    assert asked == [f"{name}:80"]
    assert place.resolvers.asked(place.resolvers.dnsmasq, name) == 0


@pytest.mark.needs("danted")
def test_fake_address_brings_the_name_to_dante(place: Place) -> None:
    """It has to find the address by itself."""
    name = place.resolvers.fresh()
    config = place.configured(
        f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = ""',
        'default = "proxy"',
        f'[upstreams.proxy]\ntype = "socks5"\nserver = "{WORLD_IPV4}"\nport = {DANTE_PORT}',
    )
    with dante(place.lab, place.scratch, WORLD_IPV4, DANTE_PORT) as log:
        out, err = place.inside(f"curl -sS --max-time 10 http://{name}/", config)
        assert out == "hello from nginx\n", out + err
    assert place.resolvers.asked(place.resolvers.dnsmasq, name) >= 1, "dante has, as nobody else did"
    assert f" {WEB}.80" in log.read_text()
    assert "198.18." not in log.read_text()


def test_fake_address_leads_to_the_real_one(place: Place) -> None:
    name = place.resolvers.fresh()
    config = place.configured(
        f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = ""',
        'rules = ["DOMAIN-SUFFIX,blocked.test,REJECT"]',
    )
    out, err = place.inside(
        f"curl -sS --max-time 10 http://{name}/; curl -sS --max-time 10 http://www.blocked.test/ 2>&1", config
    )
    assert out.startswith("hello from nginx\n"), out + err
    assert "curl: (7)" in out
    assert place.resolvers.asked(place.resolvers.dnsmasq, name) >= 1


def test_fake_addresses_mean_the_same_in_the_next_run(place: Place) -> None:
    one, two = place.resolvers.fresh(), place.resolvers.fresh()
    config = place.configured(
        f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = "{place.scratch}/fake"'
    )
    first, _ = place.inside(f"{DIG} +short @{NOBODY} {one} {two}", config)
    second, _ = place.inside(f"{DIG} +short @{NOBODY} {two} {one}", config)
    assert len(set(first.split())) == 2
    assert second.split() == first.split()[::-1]


def test_fake_addresses_outlive_a_run_whose_worker_has_no_rights(place: Place) -> None:
    """tunproxy up: the file was opened before the worker gave its rights up, in a folder closed to it."""
    folder = place.scratch / "closed"
    folder.mkdir(mode=0o700)
    config = place.configured(
        f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = "{folder}/fake"', 'default = "direct"'
    )
    names = [place.resolvers.fresh() for _ in range(3)]
    found = []
    for _ in range(2):
        process = place.lab.start_up("--tun", TUN, "--config", config)
        done = place.lab.host.run(*DIG.split(), "+short", f"@{NOBODY}", *reversed(names))
        names.reverse()
        found.append(dict(zip(names, done.stdout.split(), strict=True)))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(20)) == ("", 0)
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 3


def test_fake_addresses_that_a_reload_begins_with_outlive_the_run(place: Place) -> None:
    """tunproxy up: the file is opened by the supervisor, in a folder that the worker may not look into."""
    folder = place.scratch / "closed"
    folder.mkdir(mode=0o700)
    fake = f'{servers(place, "udp")}\nmode = "fake-ip"\nfake-ip-file = "{folder}/fake"'
    names = [place.resolvers.fresh() for _ in range(3)]

    def ask() -> list[str]:
        return place.lab.host.run(*DIG.split(), "+short", f"@{NOBODY}", *names).stdout.split()

    config = place.configured(servers(place, "udp"), 'default = "direct"')
    process = place.lab.start_up("--tun", TUN, "--config", config)
    assert ask() == [WEB] * 3
    place.configured(fake, 'default = "direct"')
    done = place.lab.run(*TUNPROXY, "reload", "--tun", TUN)
    assert (done.returncode, done.stderr) == (0, "")
    first = ask()
    assert len(set(first)) == 3
    assert all(address.startswith("198.18.") for address in first)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "cannot" not in process.stderr.read()
    assert process.wait(20) == 0
    names.reverse()
    place.lab.start_up("--tun", TUN, "--config", config)
    assert ask() == first[::-1]


def wrong_id(query: bytes) -> list[bytes]:
    wire = dns.message.make_response(dns.message.from_wire(query)).to_wire()
    return [bytes((wire[0] ^ 0xFF, wire[1])) + wire[2:]]


def wrong_question(query: bytes) -> list[bytes]:
    other = dns.message.make_query("other.test", "A", id=int.from_bytes(query[:2], "big"))
    return [dns.message.make_response(other).to_wire()]


def cut_off(query: bytes) -> list[bytes]:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "A", "192.0.2.66"))
    return [response.to_wire()[:-3]]


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda query: [query[:2] + b"garbage" * 9], "answers garbage"),
        (wrong_id, "does not answer within 2 s"),
        (wrong_question, "answers garbage"),
        (cut_off, "answers garbage"),
        (lambda query: [b""], "does not answer within 2 s"),
        (lambda query: [], "does not answer within 2 s"),
    ],
    ids=["garbage", "wrong id", "wrong question", "cut off", "empty", "never"],
)
def test_resolver_that_makes_no_sense_is_named_and_the_program_is_told(
    place: Place, lie: Callable[[bytes], list[bytes]], words: str
) -> None:
    name = place.resolvers.fresh()
    with lying(place.lab, lie) as asked:
        out, err = place.inside(f"{DIG} @{NOBODY} {name}", place.configured(f'servers = ["{LIAR}"]'))
    assert "status: SERVFAIL" in out, out  # which dig waits for no longer than ten seconds
    assert re.search(rf"resolver {re.escape(LIAR)} {words}.*\(asked for {re.escape(name)}\)", err), err
    assert set(asked) == {name}
    assert err.count("\n") == 1, "one line, not one for each time that it was asked"


def test_next_resolver_is_asked_where_one_makes_no_sense(place: Place) -> None:
    name = place.resolvers.fresh()
    with lying(place.lab, lambda query: [query[:2] + b"garbage" * 9]):
        config = place.configured(f'servers = ["{LIAR}", "{WORLD_IPV4}"]')
        out, err = place.inside(f"{DIG} +short @{NOBODY} {name}", config)
    assert out == f"{WEB}\n"
    assert "answers garbage" in err


def test_resolver_with_another_certificate_is_told_nothing(place: Place) -> None:
    name = place.resolvers.fresh()
    config = place.configured(
        f'servers = ["tls://other.test@{WORLD_IPV4}"]\nca-file = "{place.resolvers.ca}"'
    )
    out, err = place.inside(f"{DIG} @{NOBODY} {name}", config)
    assert "status: SERVFAIL" in out
    assert "certificate verify failed" in err
    assert place.resolvers.asked(place.resolvers.unbound, name) == 0


def test_silent_resolver_leaves_no_descriptor_behind(place: Place) -> None:
    """A hundred questions that nobody answers, and as many descriptors afterwards as before."""
    with lying(place.lab, lambda query: []) as asked:
        process = place.lab.start_up("--config", place.configured(f'servers = ["{LIAR}"]'))
        [worker] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        folder = Path(f"/proc/{worker}/fd")
        before = len(list(folder.iterdir()))
        names = " ".join(place.resolvers.fresh() for _ in range(100))
        script = f"for name in {names}; do dig +tries=1 +time=1 @{NOBODY} $name & done; wait"
        place.lab.host.run("sh", "-c", script)
        assert eventually(lambda: len(set(asked)) == 100, 20)
        assert len(list(folder.iterdir())) > before, "they are still under way"
        assert eventually(lambda: len(list(folder.iterdir())) <= before, 30)
