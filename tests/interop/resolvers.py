"""Resolvers in the world of a ``HostLab``: dnsmasq, unbound, one over HTTPS, and one that lies.

198.51.100.1, 2001:db8:100::1    port 53: dnsmasq    853: unbound over TLS    443: aiohttp, asks dnsmasq
198.51.100.2                     port 53: unbound
203.0.113.7                      a web server, whom all names lead to
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.message

from tests.system.hostlab import WORLD_IPV4, WORLD_IPV6, HostLab, eventually, on_machine
from tests.system.namespace import Program

UNBOUND = "198.51.100.2"
LIAR = "198.51.100.3"
WEB = "203.0.113.7"
NAME = "dns.lab.test"  # whom the certificate is for
TTL = 300
LONG = [f"{number:02}".ljust(200, "x") for number in range(15)]  # too long for a datagram of 1232 octets

DOH = """
import ssl, sys
import dns.asyncquery, dns.message
from aiohttp import web

address, certificate, key = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)

async def answer(request):
    assert request.content_type == "application/dns-message", request.content_type
    query = dns.message.from_wire(await request.read())
    found, _ = await dns.asyncquery.udp_with_fallback(query, address, timeout=5)
    print(query.question[0], query.id, flush=True)
    return web.Response(body=found.to_wire(), content_type="application/dns-message")

app = web.Application()
app.router.add_post("/dns-query", answer)
web.run_app(app, host=address, port=443, ssl_context=context, print=None)
"""


@dataclass
class Resolvers:
    """What runs; ca is the certificate that all of them prove themselves with."""

    lab: HostLab
    ca: Path
    dnsmasq: Program
    unbound: Program
    https: Program
    _marks: "itertools.count[int]" = field(default_factory=itertools.count)

    def fresh(self, domain: str = "any.test") -> str:
        """Return a name that nobody has asked about; all below any.test lead to the web server."""
        return f"n{next(self._marks)}.{domain}"

    def asked(self, program: Program, name: str) -> int:
        """Return how often one of them was asked for name's IPv4 address."""
        return sum(
            name in line.lower() and ("query[A]" in line or " A IN" in line)  # in capitals by chance
            for line in program.log.read_text().splitlines()
        )


@contextlib.contextmanager
def running(lab: HostLab, scratch: Path) -> Iterator[Resolvers]:
    """Run them all."""
    for address in (UNBOUND, LIAR, WEB):
        lab.world.ip("address", "add", f"{address}/32", "dev", "lo")
    key, ca = scratch / "key.pem", scratch / "ca.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", ca],
        check=True, capture_output=True,
    )  # fmt: skip
    programs = []
    try:
        for made in (_dnsmasq(lab, scratch), _unbound(lab, scratch, ca, key), _https(lab, scratch, ca, key)):
            programs.append(made)
        ports = ((WORLD_IPV4, 53), (WORLD_IPV6, 53), (WORLD_IPV4, 853), (UNBOUND, 53), (WORLD_IPV4, 443))
        for address, port in ports:
            assert eventually(lambda a=address, p=port: _answers(lab, a, p), 30), [
                each.log.read_text() for each in programs
            ]
        yield Resolvers(lab, ca, *programs)
    finally:
        for program in programs:
            program.stop()


def _dnsmasq(lab: HostLab, scratch: Path) -> Program:
    settings = scratch / "dnsmasq.conf"
    lines = [
        "keep-in-foreground", "user=root", "pid-file=", "bind-interfaces", "no-resolv", "no-hosts",
        "log-queries", "log-facility=-", "edns-packet-max=4096", f"local-ttl={TTL}",
        f"listen-address={WORLD_IPV4},{WORLD_IPV6}", "local=/test/",
        f"address=/any.test/{WEB}", f"address=/blocked.test/{WEB}", f"host-record=www.site.test,{WEB}",
        f"host-record=dual.site.test,{WEB},2001:db8:200::7", f"host-record={NAME},{WORLD_IPV4}",
        *(f"txt-record=long.site.test,{text}" for text in LONG),
    ]  # fmt: skip
    settings.write_text("\n".join(lines) + "\n")
    return lab.world.spawn("dnsmasq", f"--conf-file={settings}", log=scratch / "dnsmasq.log")


def _unbound(lab: HostLab, scratch: Path, certificate: Path, key: Path) -> Program:
    settings = scratch / "unbound.conf"
    records = [f"www.site.test. {TTL} IN A {WEB}", f"host.corp.test. {TTL} IN A {WEB}"]
    records += [f"long.site.test. {TTL} IN TXT {text}" for text in LONG]
    lines = [
        "server:", "do-daemonize: no", 'username: ""', 'chroot: ""', 'pidfile: ""', f'directory: "{scratch}"',
        "use-syslog: no", "log-queries: yes", f"interface: {UNBOUND}@53", f"interface: {WORLD_IPV4}@853",
        "access-control: 0.0.0.0/0 allow", "do-ip6: no", "tls-port: 853", 'module-config: "iterator"',
        f'tls-service-key: "{key}"', f'tls-service-pem: "{certificate}"', 'local-zone: "any.test." redirect',
        f'local-data: "any.test. {TTL} IN A {WEB}"', 'local-zone: "test." static',
        *(f"local-data: '{record}'" for record in records),
    ]  # fmt: skip
    settings.write_text("\n".join(lines) + "\n")
    return lab.world.spawn("unbound", "-c", str(settings), log=scratch / "unbound.log")


def _https(lab: HostLab, scratch: Path, certificate: Path, key: Path) -> Program:
    argv = (sys.executable, "-c", DOH, WORLD_IPV4, str(certificate), str(key))
    return lab.world.spawn(*argv, log=scratch / "https.log")


def _answers(lab: HostLab, address: str, port: int) -> bool:
    try:
        lab.world.connect(address, port, timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def lying(lab: HostLab, lie: Callable[[bytes], list[bytes]]) -> Iterator[list[str]]:
    """Answer each query to LIAR over UDP with what lie makes of it; yield the names that were asked."""
    asked: list[str] = []
    ended = threading.Event()
    with lab.world.datagram(LIAR, 53) as sock:
        sock.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    query, source = sock.recvfrom(65535)
                    asked.append(dns.message.from_wire(query).question[0].name.to_text(True).lower())
                    for wire in lie(query):
                        sock.sendto(wire, source)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join(5)


@contextlib.contextmanager
def socks_server(lab: HostLab, address: str, port: int) -> Iterator[list[str]]:
    """Serve SOCKS5 CONNECT without a password; yield what it was asked for. All names lead to WEB."""
    asked: list[str] = []
    ended = threading.Event()
    with lab.world.listen(address, port) as listener:
        listener.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    threading.Thread(target=_socks_flow, args=(lab, listener.accept()[0], asked)).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join(5)


def _socks_flow(lab: HostLab, client: socket.socket, asked: list[str]) -> None:
    with client, contextlib.suppress(OSError):
        client.settimeout(10)
        stream = client.makefile("rb")
        methods = stream.read(2)[1]
        stream.read(methods)
        client.sendall(b"\5\0")
        kind = stream.read(4)[3]
        if kind == 3:
            host = stream.read(stream.read(1)[0]).decode()
        else:
            host = stream.read(4 if kind == 1 else 16).hex()
        port = int.from_bytes(stream.read(2), "big")
        asked.append(f"{host}:{port}")
        with lab.world.connect(WEB, port) as server:
            client.sendall(b"\5\0\0\1" + bytes(6))
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += stream.read1(65536)
            server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while data := server.recv(65536):
                client.sendall(data)


@contextlib.contextmanager
def dante(lab: HostLab, scratch: Path, address: str, port: int) -> Iterator[Path]:
    """Serve SOCKS 5 with dante, which finds names by our dnsmasq; yield the log of what it is asked for."""
    settings = scratch / "dante.conf"
    settings.write_text(
        f"logoutput: stderr\ninternal: {address} port = {port}\nexternal: {address}\n"
        "socksmethod: none\nclientmethod: none\nuser.privileged: root\nuser.unprivileged: root\n"
        "client pass {\n from: 0/0 to: 0/0\n}\n"
        "socks pass {\n from: 0/0 to: 0/0\n command: connect\n log: connect\n}\n"
    )
    machine: dict[str, object] = {"resolver": "file", "settings": f"nameserver {WORLD_IPV4}\n"}
    argv = on_machine(("danted", "-f", str(settings)), machine)
    program = lab.world.spawn(*argv, log=scratch / "dante.log")
    try:
        assert eventually(lambda: _answers(lab, address, port), 20), program.log.read_text()
        yield program.log
    finally:
        program.stop()
