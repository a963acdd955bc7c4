"""``tunproxy doctor`` and ``audit`` on a host: well, with leaks, and with another program's device.

The picture of the namespaces is in ``hostlab``.
"""

import json
import sys

import pytest

from tests.system.hostlab import TUNPROXY, UPLINK, WORLD_IPV4, HostLab, eventually, host_for_tests, read_line

pytestmark = pytest.mark.timeout(120)

TUN = "doctor0"
USER = "47110"
# A program that opens a device and answers nothing; it reads once somebody says so.
MUTE = """
import fcntl, os, struct, sys, time
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH14x", b"mute0", 0x1001))
print("open", flush=True)
while True:
    os.read(tun, 2000) if sys.argv[1] == "reads" else time.sleep(1)
"""


lab = pytest.fixture(scope="module", name="lab")(host_for_tests)


def findings(lab: HostLab, *command: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Return the exit code, and by subject state and words of each finding."""
    done = lab.run(*TUNPROXY, *command, "--json")
    assert done.stderr == ""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["subject"], []).append((each["state"], each["says"]))
    return done.returncode, found


def test_host_with_a_tunproxy_is_well_and_leaks_nothing(lab: HostLab) -> None:
    process = lab.start_up("--tun", TUN)
    try:
        with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
            code, found = findings(
                lab, "doctor", "--tun", TUN, "--user", USER, "--probe", f"{WORLD_IPV4}:{port}"
            )
        assert code == 0
        assert found["routes"] == [("fine", f"IPv4 goes into {TUN}"), ("fine", f"IPv6 goes into {TUN}")]
        assert found["probe"] == [("fine", f"the program behind {TUN} has answered: connected")]
        code, found = findings(lab, "audit", "--user", USER)
        assert code == 0
        assert found["IPv4 QUIC (udp/443)"] == found["IPv6 DNS (udp/53)"] == [("fine", f"goes into {TUN}")]

        lab.host.ip("rule", "add", "pref", "100", "ipproto", "udp", "dport", "443", "lookup", "main")
        code, found = findings(lab, "audit", "--user", USER)
        assert code == 1
        leaks = {subject for subject, [(state, _)] in found.items() if state == "broken"}
        assert leaks == {"IPv4 QUIC (udp/443)"}
        assert found["IPv4 QUIC (udp/443)"] == [("broken", f"leaks: it goes out at {UPLINK}")]
        _, found = findings(lab, "doctor", "--tun", TUN)
        assert "a policy rule of others is asked before ours" in str(found["routes"])
    finally:
        lab.host.run("ip", "rule", "del", "pref", "100")
        process.terminate()
        process.wait(20)


@pytest.mark.needs("nft")
@pytest.mark.parametrize(
    ("hook", "key", "says"),
    [("output", "oifname", "the SYN would go to"), ("input", "iifname", "has answered, and this host's own")],
)
def test_firewall_that_knows_nothing_of_the_device_is_found_out(
    lab: HostLab, hook: str, key: str, says: str
) -> None:
    process = lab.start_up("--tun", TUN)
    try:
        lab.host.nft(
            f"table inet strict {{ chain only {{ type filter hook {hook} priority 0; policy drop;\n"
            f'{key} {{ "lo", "{UPLINK}" }} accept\n}}\n}}\n'
        )
        with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
            probe = ("doctor", "--tun", TUN, "--probe", f"{WORLD_IPV4}:{port}")
            code, found = findings(lab, *probe)
            [(state, told)] = found["probe"]
            assert (code, state) == (1, "broken")
            assert says in told
            assert "firewall" in told
            lab.host.nft("delete table inet strict")
            assert findings(lab, *probe)[1]["probe"][0][0] == "fine"
    finally:
        lab.host.run("nft", "delete", "table", "inet", "strict")
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("behaviour", "says"), [("reads", "must write a SYN, ACK itself"), ("sleeps", "does not read it")]
)
def test_program_that_answers_nothing_is_found_out(lab: HostLab, behaviour: str, says: str) -> None:
    program = lab.start(sys.executable, "-c", MUTE, behaviour)
    assert program.stdout is not None
    try:
        assert read_line(program.stdout) == "open\n"
        lab.host.ip("address", "add", "203.0.113.1/24", "dev", "mute0")
        lab.host.ip("link", "set", "mute0", "up")
        code, found = findings(lab, "doctor", "--tun", "mute0", "--probe", "203.0.113.9:80")
        assert code == 1
        assert says in found["probe"][0][1]
        assert found["routes"][0] == ("broken", f"IPv4 goes out at {UPLINK}, past every TUN device")
    finally:
        program.kill()
        program.wait(20)


def test_what_the_kernel_sends_by_itself_is_no_sign_of_a_route(lab: HostLab) -> None:
    program = lab.start(sys.executable, "-c", MUTE, "reads")
    assert program.stdout is not None
    try:
        assert read_line(program.stdout) == "open\n"
        lab.host.ip("link", "set", "mute0", "up")

        def is_told() -> bool:
            _, found = findings(lab, "doctor", "--tun", "mute0")
            ((state, says),) = found["device mute0"]
            assert state == "odd", says
            return says.startswith("no packet was read but the kernel's own: no route leads into it")

        assert eventually(is_told, 30)
    finally:
        program.kill()
        program.wait(5)


def test_killed_tunproxy_is_told_with_what_mends_it(lab: HostLab) -> None:
    process = lab.start_up("--tun", TUN)
    process.kill()
    process.wait(20)
    assert eventually(lambda: not lab.has_link(TUN))  # its worker ends by itself, once it has noticed
    _, found = findings(lab, "doctor")
    assert "lead into an empty table" in str(found["routes"])
    assert lab.run(*TUNPROXY, "rescue").returncode == 0
    _, found = findings(lab, "doctor")
    assert "lead into an empty table" not in str(found["routes"])
