"""How each program is started on a device of its own, with its defaults where it has any.

A program that is not found here is left out, by name. No program gets routes from us: packets are put on its
device by hand, and its own sockets go out by the ordinary default route.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.abuse.client import Client
from tests.bench.abuse.rig import DOWNLINK, GATEWAY, GATEWAY6, UPLINK, US, US6, Failed, Rig, route_us_back
from tests.bench.abuse.wire import Wire
from tests.system.namespace import Namespace

HERE = Path(__file__).resolve().parent
DEVICE = "abuse0"
TUN_NET, TUN_NET6 = "172.19.0.1/30", "fdfe:dcba:9876::1/126"
READY = 20.0
MARK = 0x7A
DEVICE_MTU = 1500


@dataclass(frozen=True)
class Peer:
    """A program, and how it gets onto the wire."""

    name: str
    what: str  # which TCP/IP stack it is
    start: Callable[[Rig, str], None]
    binary: str = ""  # what is looked for
    tap: bool = False  # the device is Ethernet, in a namespace of its own
    lacks: str = ""  # of "six", "udp", "hosts": what it was never made to carry


def start(rig: Rig, peer: Peer, binary: str) -> None:
    """Start a program and return when a connection comes through it."""
    peer.start(rig, binary)
    rig.lacks = frozenset(peer.lacks.split())
    until = time.monotonic() + READY
    while True:
        if serves(rig):
            time.sleep(0.3)
            return
        if time.monotonic() > until or not rig.is_alive():
            logs = "".join(p.read_text(errors="replace")[-1500:] for p in sorted(rig.scratch.glob("*.log")))
            raise RuntimeError(f"{peer.name}: no connection comes through: {logs or 'no output'}")


def serves(rig: Rig, tries: int = 1) -> bool:
    """Return whether a connection comes through."""
    for _ in range(tries):
        try:
            listener = rig.listen()
            client = Client(rig, listener.getsockname()[1]).open(1.5)
            client.must_live(rig.accept(listener))
            return True
        except (Failed, OSError):
            time.sleep(0.5)
        finally:
            rig.end_case()
    return False


def _spawn(rig: Rig, argv: Sequence[str], *, nofile: int = 0) -> None:
    limit = ["prlimit", f"--nofile={nofile}:{nofile}"] if nofile else []
    program = rig.host.spawn(*limit, *argv, log=rig.scratch / f"{Path(argv[0]).name}.log")
    rig.programs.append(program)
    rig.pids.append(program.process.pid)


def _await_device(rig: Rig, namespace: Namespace, device: str = DEVICE) -> None:
    until = time.monotonic() + READY
    while device not in namespace.ip("-o", "link", "show"):
        if time.monotonic() > until or not rig.is_alive():
            logs = "".join(p.read_text(errors="replace")[-1500:] for p in sorted(rig.scratch.glob("*.log")))
            raise RuntimeError(f"the program made no device: {logs or 'no output'}")
        time.sleep(0.05)


def _on_tun(rig: Rig, addresses: Sequence[str] = (TUN_NET, TUN_NET6)) -> None:
    """Set the TUN up, with the addresses that it may have already, and put the wire on it."""
    _await_device(rig, rig.host)
    for address in addresses:
        with_six = ["nodad"] if ":" in address else []
        rig.host.ip("address", "replace", address, "dev", DEVICE, *with_six)
    rig.host.ip("link", "set", "dev", DEVICE, "mtu", str(DEVICE_MTU), "up")
    rig.wire = Wire(rig.host, DEVICE, ethernet=False)


def _on_tap(rig: Rig, inner: Namespace) -> None:
    _await_device(rig, inner)
    inner.ip("link", "set", "dev", DEVICE, "mtu", str(DEVICE_MTU), "up")
    rig.wire = Wire(inner, DEVICE, ethernet=True)
    rig.wire.announce(US, GATEWAY)


def _kernel(rig: Rig, binary: str) -> None:
    rig.host.sysctl("net/ipv4/ip_forward", "0")
    route_us_back(rig)
    mac = rig.server.ip("-o", "link", "show", "dev", DOWNLINK).split("link/ether ")[1].split()[0]
    rig.wire = Wire(rig.host, UPLINK, ethernet=True, peer_mac=bytes.fromhex(mac.replace(":", "")))


def _tunproxy(rig: Rig, binary: str) -> None:
    argv = [*binary.split(), "up", "--tun", DEVICE, "--no-route", "--mark", str(MARK)]
    _spawn(rig, [*argv, "--mtu", str(DEVICE_MTU)])
    _on_tun(rig)


def _sing_box(stack: str) -> Callable[[Rig, str], None]:
    def run(rig: Rig, binary: str) -> None:
        inbound = {
            "type": "tun", "tag": "in", "interface_name": DEVICE, "address": [TUN_NET, TUN_NET6],
            "auto_route": False, "stack": stack, "mtu": DEVICE_MTU,
        }  # fmt: skip
        out = {"type": "direct", "tag": "out", "routing_mark": MARK}
        conf = {
            "log": {"level": "fatal"},
            "inbounds": [inbound],
            "outbounds": [out],
            "route": {"final": "out"},
        }
        (rig.scratch / "sing-box.json").write_text(json.dumps(conf))
        _spawn(rig, [binary, "run", "-c", str(rig.scratch / "sing-box.json"), "-D", str(rig.scratch)])
        _on_tun(rig)

    return run


def _mihomo(stack: str) -> Callable[[Rig, str], None]:
    def run(rig: Rig, binary: str) -> None:
        conf = f"""mode: rule
log-level: silent
ipv6: true
find-process-mode: "off"
routing-mark: {MARK}
geo-auto-update: false
dns: {{enable: false}}
profile: {{store-selected: false, store-fake-ip: false}}
tun: {{enable: true, device: {DEVICE}, stack: {stack}, auto-route: false, auto-detect-interface: false,
  inet4-address: [{TUN_NET}], inet6-address: ["{TUN_NET6}"], mtu: {DEVICE_MTU}}}
rules: ["MATCH,DIRECT"]
"""
        (rig.scratch / "config.yaml").write_text(conf)
        _spawn(rig, [binary, "-d", str(rig.scratch)])
        _on_tun(rig)

    return run


def _pasta(rig: Rig, binary: str) -> None:
    inner = rig.namespace("inner")
    _spawn(rig, [
        binary, "--foreground", "--quiet", "--runas", "0", "--no-map-gw",
        "-t", "none", "-u", "none", "-T", "none", "-U", "none", "-i", UPLINK,
        "-a", US, "-n", "24", "-g", GATEWAY, "-a", US6, "-g", GATEWAY6,
        "--mtu", str(DEVICE_MTU), "--ns-ifname", DEVICE, "--log-file", str(rig.scratch / "passt.log"),
        "--netns", f"/run/netns/{inner.name}",
    ])  # fmt: skip
    _on_tap(rig, inner)


def _slirp(rig: Rig, binary: str) -> None:
    inner = rig.namespace("inner")
    _spawn(rig, [
        binary, "--configure", f"--mtu={DEVICE_MTU}", "--cidr=10.97.0.0/24", "--disable-host-loopback",
        "--netns-type=path", f"/run/netns/{inner.name}", DEVICE,
    ])  # fmt: skip
    _await_device(rig, inner)
    time.sleep(0.5)
    inner.ip("address", "flush", "dev", DEVICE)
    _on_tap(rig, inner)


def _smoltcp(rig: Rig, binary: str) -> None:
    _spawn(rig, [binary, str(HERE / "smoltcp_relay.py"), DEVICE])
    _on_tun(rig)


def _lwip(rig: Rig, binary: str) -> None:
    _spawn(rig, [binary, DEVICE])
    _on_tun(rig, ())


def lwip_binary(scratch: Path) -> str:
    """Compile the relay over liblwip; return "" where compiler or library are missing."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/lwip/lwip/tcp.h").exists():
        return ""
    made = scratch / "lwip_relay"
    argv = [
        compiler,
        "-O2",
        "-I/usr/include/lwip",
        "-o",
        str(made),
        str(HERE / "lwip_relay.c"),
        "-llwip",
        "-lpthread",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"cannot compile lwip_relay.c: {done.stderr.strip()}")
    return str(made)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("linux", "the kernel, no program between: shows that the cases are right", _kernel),
        Peer("tunproxy", "its own", _tunproxy, "tunproxy"),
        Peer("pasta", "passt's own", _pasta, "pasta", tap=True),
        Peer("sing-box-gvisor", "gVisor netstack", _sing_box("gvisor"), "sing-box"),
        Peer("sing-box-system", "the kernel's, by translation of addresses", _sing_box("system"), "sing-box"),
        Peer("sing-box-mixed", "TCP the kernel's, UDP gVisor netstack", _sing_box("mixed"), "sing-box"),
        Peer("mihomo-gvisor", "gVisor netstack", _mihomo("gvisor"), "mihomo"),
        Peer("mihomo-system", "the kernel's, by translation of addresses", _mihomo("system"), "mihomo"),
        Peer(
            "smoltcp",
            "smoltcp, as in mitmproxy's TUN mode",
            _smoltcp,
            "smoltcp-python",
            lacks="resets mapping empty",
        ),
        Peer("lwip", "lwIP, under a small relay", _lwip, "lwip", lacks="six udp hosts"),
        Peer("slirp4netns", "libslirp, which comes from BSD", _slirp, "slirp4netns", tap=True, lacks="six"),
    )
}


def find(name: str, given: dict[str, str], scratch: Path) -> str | None:
    """Return the executable of a program: what was given, or on the PATH; None where there is none."""
    peer = PEERS[name]
    if not peer.binary:
        return ""
    if peer.binary in given:
        return given[peer.binary]
    if peer.binary == "lwip":
        return lwip_binary(scratch) or None
    return shutil.which(peer.binary, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
