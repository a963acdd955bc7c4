"""Who answers a SYN: one connection is tried, and the device's counters are watched meanwhile."""

import errno
import os
import socket
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from tunproxy.control.endpoint import find
from tunproxy.doctor.devices import Device, held_by, read_devices
from tunproxy.doctor.finding import Finding, State
from tunproxy.doctor.firewall import INPUT, OUTPUT, counting
from tunproxy.doctor.offloads import checksum_errors
from tunproxy.doctor.ways import describe_way, source_check_drops
from tunproxy.errors import ConfigError
from tunproxy.host.netlink import Netlink, Way

PATIENCE: Final = 3.0  # seconds, our choice: a SYN is sent again after one, and after two more


def parse_probe(text: str) -> tuple[str, int]:
    """Return the address and the port of ADDRESS:PORT or [ADDRESS]:PORT. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot probe {text!r}: not ADDRESS:PORT (a name would be looked up)") from error
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConfigError(f"cannot probe {text!r}: not ADDRESS:PORT (ports are 1 to 65535)")
    return host, int(port)


def probe(address: str, port: int, patience: float = PATIENCE) -> Finding:
    """Try to connect, and say who answered. Raises SystemChangeError."""
    with Netlink() as net:
        way = net.way_to(address, uid=os.geteuid(), protocol=socket.IPPROTO_TCP, port=port)
    before = {device.name: device for device in read_devices()}
    spoiled, forged = sum(checksum_errors().values()), source_check_drops()
    with _bound(address) as sock, counting(sock.getsockname()[1]) as checkpoints:
        began = time.monotonic()
        error = _connect(sock, address, port, patience)
        seconds = time.monotonic() - began
        stopped = checkpoints.stopped_at() if error else ""
        if stopped == INPUT and source_check_drops() != forged:
            stopped = ""  # it was the check of sources, which is a finding of its own
        chains = tuple(checkpoints.chains(stopped)) if stopped else ()
    spoiled = sum(checksum_errors().values()) - spoiled
    outcome = Outcome(f"{address}:{port}", way, error, seconds, spoiled, stopped, chains)
    ours = {each.name for each in find()}
    return judge_probe(outcome, before, {device.name: device for device in read_devices()}, ours)


@dataclass(frozen=True)
class Outcome:
    """What became of a connection: the way it went, an errno that is 0 for none, and how long it took.

    spoiled is how many packets were dropped meanwhile for a wrong checksum. stopped says that this host's
    firewall has stopped what left (OUTPUT) or what came (INPUT), and chains where that is decided.
    """

    target: str
    way: Way | None
    error: int
    seconds: float
    spoiled: int = 0
    stopped: str = ""
    chains: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return it in words."""
        usual = {0: "connected", errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "no answer"}
        return usual.get(self.error, errno.errorcode.get(self.error, str(self.error)))


def judge_probe(
    outcome: Outcome, before: Mapping[str, Device], after: Mapping[str, Device], ours: Container[str]
) -> Finding:
    """Say what a connection shows.

    before and after are the devices as they were then; other programs' packets are counted, too. ours are
    names of devices that tunproxy serves, which answers a SYN no sooner than its target does.
    """
    tried = f"connect to {outcome.target}: {outcome.describe()} after {outcome.seconds * 1000:.0f} ms"
    name = outcome.way.link if outcome.way is not None else ""
    if outcome.stopped:
        return _judge_firewall(outcome, tried)
    if name not in before or name not in after:
        evidence = (tried, f"ip route get: {describe_way(outcome.way)}")
        says = "the SYN goes into no TUN device: whoever answered, or did not, is outside"
        return Finding("probe", State.ODD, says, evidence, "see routes: which way leads there")
    device = after[name]
    read = device.link.read - before[name].link.read
    written = device.link.written - before[name].link.written
    seen = (tried, f"{name}: {read:,} packets read meanwhile, {written:,} written", held_by(device))
    if not read:
        says = f"the SYN goes into {name}, and its program does not read it"
        return Finding("probe", State.BROKEN, says, seen, "see what that program does")
    if outcome.error == errno.ETIMEDOUT and name in ours:
        says = f"the SYN was read at {name}, and its target says nothing, so neither does tunproxy"
        return Finding("probe", State.ODD, says, seen, f"tunproxy explain {outcome.target}; tunproxy flows")
    if not written:
        says = f"the SYN was read at {name}, and nobody answered: its program must write a SYN, ACK itself"
        return Finding("probe", State.BROKEN, says, seen, "see whether that program has a TCP stack")
    if outcome.error == errno.ETIMEDOUT and outcome.spoiled:
        says = f"the program behind {name} answers with a wrong checksum: the kernel drops what it says"
        mend = "have it compute checksums, or the kernel (VIRTIO_NET_HDR_F_NEEDS_CSUM)"
        counted = f"InCsumErrors in /proc/net: {outcome.spoiled:,} more meanwhile"
        return Finding("probe", State.BROKEN, says, (*seen, counted), mend)
    if outcome.error == errno.ETIMEDOUT:
        says = f"the program behind {name} writes packets, but answers this connection with none"
        return Finding("probe", State.ODD, says, seen, "see what it does with this target")
    return Finding("probe", State.FINE, f"the program behind {name} has answered: {outcome.describe()}", seen)


def _judge_firewall(outcome: Outcome, tried: str) -> Finding:
    link = outcome.way.link if outcome.way is not None else "any link"
    says, mend = {
        OUTPUT: (
            f"the SYN would go to {link}, and this host's own firewall stops it",
            f"let through what leaves by {link}",
        ),
        INPUT: (
            f"who is behind {link} has answered, and this host's own firewall stops the answer",
            f"let in what comes by {link}",
        ),
    }[outcome.stopped]
    where = [f"at {outcome.stopped}: {each}" for each in outcome.chains]
    shown = f"nft list chain {outcome.chains[0].partition(' (')[0]}" if where else "iptables-save"
    return Finding("probe", State.BROKEN, says, (tried, *where), f"{mend} (what stops it: {shown})")


def _bound(address: str) -> socket.socket:
    """Return a socket with a port of its own and no address yet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.bind(("", 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, address: str, port: int, patience: float) -> int:
    """Return the error of a connection, 0 for none."""
    try:
        sock.settimeout(patience)
        sock.connect((address, port))
    except TimeoutError:
        return errno.ETIMEDOUT
    except OSError as error:
        return error.errno or errno.EIO
    return 0
