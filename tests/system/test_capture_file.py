"""``tunproxy capture``: a real ``up``, programs that talk, and Wireshark's own reader of what was captured.

The picture of the namespaces is in ``hostlab``.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dpkt.pcapng  # type: ignore[import-untyped]
import dpkt.tcp  # type: ignore[import-untyped]
import pytest

from tests.system.hostlab import (
    TUNPROXY,
    WORLD_IPV4,
    WORLD_IPV6,
    HostLab,
    eventually,
    host_for_tests,
    read_line,
)
from tests.system.peers import serve_clients
from tunproxy.control.packets import pcapng

pytestmark = [pytest.mark.timeout(60), pytest.mark.needs("tshark", "curl")]

TUN = "packets0"
SAID = bytes(range(256)) * 2_000  # more than a window, and than any super-packet
ANSWER = b"and this is what was answered\n"
RULES = "IP-CIDR6,2001:db8:100::/48,REJECT\nMATCH,DIRECT\n"

module_lab = pytest.fixture(scope="module", name="module_lab")(host_for_tests)

# Says all of standard input to a server, and prints the answer.
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
    sock.sendall(sys.stdin.buffer.read())
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture(scope="module")
def lab(module_lab: HostLab, tmp_path_factory: pytest.TempPathFactory) -> HostLab:
    rules = tmp_path_factory.mktemp("rules") / "home.rules"
    rules.write_text(RULES)
    for path in rules.parents:
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o111)
    module_lab.start_up("--tun", TUN, "--rules", str(rules), "--workers", "2")
    return module_lab


@pytest.fixture(scope="module")
def port(lab: HostLab) -> Iterator[int]:
    """The port of a server that hears its client out and answers then."""
    with serve_clients(lab.world, WORLD_IPV4, answer) as found:
        yield found


def answer(client: socket.socket, peer: str) -> None:
    with client:
        while client.recv(65536):
            pass
        client.sendall(ANSWER)


def begin(lab: HostLab, *captures: Sequence[str]) -> "list[subprocess.Popen[str]]":
    """Start captures with these options; return once all of them capture."""
    started = [lab.start(*TUNPROXY, "capture", "--tun", TUN, *options) for options in captures]
    for process in started:
        assert process.stderr is not None
        line = read_line(process.stderr)
        assert line.startswith("tunproxy: capturing at"), line
    return started


def talk(lab: HostLab, address: str, port: int, said: bytes) -> bytes:
    with lab.host.entered():
        done = subprocess.run(
            [sys.executable, "-c", TALK, address, str(port)], input=said, capture_output=True, timeout=30
        )
    return done.stdout


def tshark(file: Path, *options: str) -> list[list[str]]:
    """Return the fields that Wireshark shows of a file."""
    command = ["tshark", "-n", "-r", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def running(lab: HostLab) -> list[str]:
    """Return the filters of the captures that there are, as another client of the API is told."""
    ask = ("curl", "-sS", "--unix-socket", f"/run/tunproxy/{TUN}.sock", "http://localhost/captures")
    return [each["filter"] for each in json.loads(lab.run(*ask).stdout)["captures"]]


def ended(process: "subprocess.Popen[str]") -> str:
    """End a capture as Ctrl-C does; return its last line."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    return said


def test_captured_streams_are_what_was_said(lab: HostLab, tmp_path: Path) -> None:
    file, other = tmp_path / "all.pcapng", tmp_path / "none.pcapng"
    capture, none, killed, known = begin(
        lab,
        ["-o", str(file)],
        ["-o", str(other), "port:9", "!udp"],
        ["-o", "/dev/null", "flow:1"],
        ["-o", "/dev/null", "--count", "1", "process:python*"],
    )
    assert sorted(running(lab)) == ["", "flow:1", "port:9 !udp", "process:python*"]
    killed.kill()

    def answer_once_known(client: socket.socket, peer: str) -> None:
        """Keep the client until its process was found: whose is over before that has none that is known."""
        known.wait(20)
        answer(client, peer)

    with serve_clients(lab.world, WORLD_IPV4, answer_once_known) as port:
        assert talk(lab, WORLD_IPV4, port, SAID) == ANSWER
    assert talk(lab, WORLD_IPV6, 443, b"refused") == b""
    assert ended(capture).endswith("none was lost\n")
    assert "tunproxy: 0 packets, " in ended(none)
    assert eventually(lambda: running(lab) == []), "a capture ends with its client"
    assert file.stat().st_mode & 0o777 == 0o600

    fields = ("frame.comment", "tcp.stream", "ip.src", "ip.dst", "frame.packet_flags_direction")
    shown = tshark(file, "-T", "fields", *(word for each in fields for word in ("-e", each)), "-Y", "tcp")
    rows = [dict(zip(fields, row, strict=True)) for row in shown]
    comments = [row["frame.comment"] for row in rows]
    words_of = {row["tcp.stream"]: row for row in rows if "verdict" in row["frame.comment"]}
    said, refused = words_of.values()  # the last of each: a process that was found late is said then
    for words in (
        f"to {WORLD_IPV4}:{port}; process python",
        "user 0); verdict dial, through direct; rule MATCH,DIRECT",
    ):
        assert words in said["frame.comment"]
    assert "verdict reject" in refused["frame.comment"]
    assert "rule IP-CIDR6,2001:db8:100::/48,REJECT" in refused["frame.comment"]
    assert any(f"over: closed; {len(SAID):,} octets up, {len(ANSWER)} down" in each for each in comments)
    directions = {(row["ip.src"] == WORLD_IPV4, row["frame.packet_flags_direction"]) for row in rows}
    assert directions == {(True, "0x00000001"), (False, "0x00000002")} | {(False, "0x00000001")}

    followed = tshark(file, "-q", "-z", f"follow,tcp,raw,{said['tcp.stream']}")
    hexadecimal = [row for row in followed if set("".join(row)) <= set("0123456789abcdef")]
    assert b"".join(bytes.fromhex(row[0]) for row in hexadecimal if row[0]) == SAID
    assert b"".join(bytes.fromhex(row[1]) for row in hexadecimal if not row[0] and len(row) == 2) == ANSWER


def test_capture_into_a_pipe_ends_by_itself_and_is_whole(lab: HostLab, port: int) -> None:
    words = [f"port:{port}", "process:python*", "user:0", "rule:direct", "tcp", f"address:{WORLD_IPV4}/32"]
    command = [*TUNPROXY, "capture", "--tun", TUN, "-o", "-", "--count", "3", "--snaplen", "64", *words]
    with lab.host.entered():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"tunproxy: capturing at")
        until = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < until:  # one may end before its process is known
            assert talk(lab, WORLD_IPV4, port, SAID) == ANSWER
            time.sleep(0.2)
        octets, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"3 packets, " in said
    packets = [data for _, data in dpkt.pcapng.Reader(io.BytesIO(octets))]
    assert len(packets) == 3
    assert max(map(len, packets)) <= 64
    assert packets[0][9] == socket.IPPROTO_TCP
    assert packets[0][33] == dpkt.tcp.TH_SYN


def test_wireshark_shows_names_and_what_the_file_says_of_itself(tmp_path: Path) -> None:
    target, client = socket.inet_aton("192.0.2.1"), socket.inet_aton("10.0.0.2")
    datagram = b"\x45\0\0\x1c\0\0\0\0\x40\x11\0\0" + client + target + b"\x9c\x40\x12\x34\0\x08\0\0"
    at = 1_795_305_600_123_456_789
    file = tmp_path / "x.pcapng"
    file.write_bytes(
        pcapng.section("tunproxy; configuration x", "Linux", "tunproxy 0.1")
        + pcapng.interface("tun7", "a TUN device", 1000, "port:4660", "Linux")
        + pcapng.names([(target, "shop.example")])
        + pcapng.packet(at, datagram, 28, flags=pcapng.OUTBOUND, comments=("one", "two"), lost=3)
        + pcapng.statistics(at, at + 1, 4, 3, 1, "three are missing")
    )
    fields = ("ip.dst_host", "frame.interface_name", "frame.comment", "frame.time_epoch")
    command = ["tshark", "-N", "n", "-r", str(file), "-T", "fields"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "shop.example\ttun7\tone,two\t1795305600.123456789\n"
    about = subprocess.run(["capinfos", str(file)], capture_output=True, text=True, timeout=30).stdout
    assert "Capture comment:     tunproxy; configuration x" in about
    assert "Capture application: tunproxy 0.1" in about
    assert "Filter string = port:4660" in about
