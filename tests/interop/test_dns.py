"""dig against dnsmasq, over UDP and TCP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import IPV4, IPV6, Family, Lab

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.needs("dig", "dnsmasq"),
    pytest.mark.leaks_checked_per_module,
]

PORT = 53
LONG_TEXT = [f"{number:03}".ljust(200, "x") for number in range(15)]  # too long for a datagram of 1232 octets


@pytest.fixture(scope="module", autouse=True)
def resolver(module_lab: Lab) -> Iterator[None]:
    """Run a resolver that knows three names and asks nobody."""
    settings = module_lab.scratch / "dnsmasq.conf"
    lines = [
        "keep-in-foreground",
        "user=root",
        "pid-file=",
        f"port={PORT}",
        "bind-interfaces",
        "edns-packet-max=4096",
        f"listen-address={IPV4.host},{IPV6.host}",
        "no-resolv",
        "no-hosts",
        "local=/test/",
        "host-record=www.test,192.0.2.7,2001:db8::7",
        *(f"txt-record=long.test,{text}" for text in LONG_TEXT),
        *(f"host-record=n{number}.test,192.0.2.{number}" for number in range(200)),
    ]
    settings.write_text("\n".join(lines) + "\n")
    program = module_lab.start_serving("dnsmasq", f"--conf-file={settings}", port=PORT)
    yield
    program.stop()


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_addresses_are_resolved(lab: Lab, family: Family, transport: str) -> None:
    assert dig(lab, family, transport, "www.test", "A") == ["192.0.2.7"]
    assert dig(lab, family, transport, "www.test", "AAAA") == ["2001:db8::7"]


def test_long_answer_is_truncated_and_fetched_over_tcp(lab: Lab, family: Family) -> None:
    answer = dig(lab, family, "+notcp", "+bufsize=1232", "long.test", "TXT")
    assert sorted(text.strip('"') for text in answer) == LONG_TEXT


def test_long_answer_fits_into_a_big_datagram(lab: Lab, family: Family) -> None:
    """4,096 octets come in fragments."""
    answer = dig(lab, family, "+bufsize=4096", "+ignore", "long.test", "TXT")
    assert sorted(text.strip('"') for text in answer) == LONG_TEXT


def test_two_hundred_names_in_one_run(lab: Lab, family: Family, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("".join(f"n{number}.test A\n" for number in range(200)))
    assert dig(lab, family, "-f", str(names)) == [f"192.0.2.{number}" for number in range(200)]


def test_unknown_name_is_unknown(lab: Lab, family: Family) -> None:
    done = lab.client.run("dig", "+tries=1", "+time=20", f"@{family.host}", "nowhere.test")
    assert "status: NXDOMAIN" in done.stdout, done.stdout


def test_silent_resolver_times_out(lab: Lab, family: Family) -> None:
    done = lab.client.run("dig", "+tries=1", "+time=1", f"@{family.silent}", "www.test")
    assert done.returncode == 9, done.stdout


def test_closed_port_is_noticed_before_the_time_out(lab: Lab, family: Family) -> None:
    done = lab.client.run("dig", "+tries=1", "+time=50", f"@{family.hosts[2]}", "www.test", timeout=30)
    assert "refused" in done.stdout, done.stdout


def dig(lab: Lab, family: Family, *arguments: str) -> list[str]:
    done = lab.client.run("dig", "+short", "+tries=1", "+time=20", f"@{family.host}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
