"""A host, a world with proxies that people run, and what lies behind them; for tests of the whole program.

    +- host --------------+      +- world ------------------------------------------------+
    |  tunproxy, clients  |======|  proxies at 198.51.100.1 and 2001:db8:100::1            |
    |                     |      |  what they lead to: 203.0.113.7 and 2001:db8:200::7;    |
    +---------------------+      |  .9 drops, .128 and above are unreachable               |
                                 +---------------------------------------------------------+

A proxy's connections come from an address of the world, ours from the host's: who serves knows which it was.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.hostlab import WORLD_IPV4, WORLD_IPV6, HostLab
from tests.system.namespace import Program
from tests.unit.rulesets.programs import find_mihomo, find_sing_box

TARGET, TARGET6 = "203.0.113.7", "2001:db8:200::7"
SILENT = "203.0.113.9"
UNREACHABLE, UNREACHABLE6 = "203.0.113.200", "2001:db8:201::1"
USER, PASSWORD = "joe@work", "sw:rd/f%sh #1?"  # every character that a URL has to encode
LOGIN = "joe%40work:sw%3Ard%2Ff%25sh%20%231%3F@"
NAME = "proxy.lab.test"  # whom the certificate is for, besides the address
READY = 20.0  # seconds that a proxy may take to start on a busy machine

DANTE = """
logoutput: stderr
internal: {address} port = {port}
external.protocol: ipv4 ipv6
external: {address}
external: {address6}
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
timeout.connect: 5
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: connect udpassociate }}
socks pass {{ from: 0/0 to: 0/0 command: udpreply }}
"""
TINYPROXY = """
User root
Group root
Port {port}
Listen {address}
Timeout 60
MaxClients 500
{login}
"""
SQUID = """
http_port {address}:{port}
https_port {address}:{tls_port} tls-cert={scratch}/certificate.pem tls-key={scratch}/key.pem
http_access allow all
cache deny all
access_log none
cache_log stdio:/dev/stderr
pid_filename none
max_filedescriptors 4096
connect_timeout 5 seconds
half_closed_clients on
shutdown_lifetime 0 seconds
visible_hostname lab
coredump_dir none
"""


@dataclass(frozen=True)
class Kind:
    """A proxy as a user names it: the program behind the port, and the URL, of which {} is host and port."""

    program: str
    url: str
    port: int
    needs: tuple[str, ...] = ()

    def at(self, host: str = WORLD_IPV4) -> str:
        return self.url.format(f"{host}:{self.port}")


KINDS = {
    "microsocks": Kind("microsocks", "socks5://{}", 2080, ("microsocks",)),
    "microsocks-login": Kind("microsocks-login", f"socks5://{LOGIN}{{}}", 2081, ("microsocks",)),
    "dante": Kind("dante", "socks5://{}", 2082, ("danted",)),
    "dante-socks4": Kind("dante", "socks4://{}", 2082, ("danted",)),
    "sing-box": Kind("sing-box", "socks5://{}", 2083),
    "sing-box-login": Kind("sing-box", f"socks5://{LOGIN}{{}}", 2084),
    "sing-box-socks4a": Kind("sing-box", "socks4a://{}", 2083),
    "sing-box-http": Kind("sing-box", "http://{}", 2083),
    "sing-box-https": Kind("sing-box", f"https://{LOGIN}{{}}?ca_file=CA", 2085),
    "mihomo": Kind("mihomo", "socks5h://{}", 2086),
    "mihomo-http": Kind("mihomo", "http://{}", 2086),
    "tinyproxy": Kind("tinyproxy", "http://{}", 2087, ("tinyproxy",)),
    "tinyproxy-login": Kind("tinyproxy-login", "http://joe:swordfish@{}", 2088, ("tinyproxy",)),
    "squid": Kind("squid", "http://{}", 2089, ("squid",)),
    "squid-https": Kind("squid", "https://{}?ca_file=CA", 2090, ("squid",)),
}


def every(*names: str) -> list[object]:
    """Return these proxies, all unless named, as parameters of a test; each names the programs it needs."""
    return [
        pytest.param(name, id=name, marks=pytest.mark.needs("curl", "openssl", *KINDS[name].needs))
        for name in (names or KINDS)
    ]


class ProxyLab(HostLab):
    """The two namespaces with what lies behind the proxies, which start when they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp(prefix="proxied-"))  # pytest's own folders are root's alone
        self.scratch.chmod(0o755)
        self.programs: dict[str, Program] = {}
        world = self.world
        for address in (TARGET, SILENT):
            world.ip("address", "add", f"{address}/32", "dev", "lo")
        world.ip("address", "add", f"{TARGET6}/128", "dev", "lo", "nodad")
        world.ip("route", "add", "unreachable", "203.0.113.128/25")
        world.ip("-6", "route", "add", "unreachable", "2001:db8:201::/64")
        world.nft(
            "table inet lab {\n chain in {\n  type filter hook input priority 0; policy accept;\n"
            f"  ip daddr {SILENT} drop\n }}\n}}\n"
        )

    def __exit__(self, *exc: object) -> None:
        for program in self.programs.values():
            program.stop()
        super().__exit__(*exc)
        shutil.rmtree(self.scratch)

    @property
    def certificate(self) -> Path:
        """The certificate that the proxies show, made when it is asked for first."""
        path = self.scratch / "certificate.pem"
        if not path.exists():
            names = f"subjectAltName=IP:{WORLD_IPV4},DNS:{NAME}"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-days", "2", "-subj", "/CN=lab", "-addext", names,
                 "-keyout", str(self.scratch / "key.pem"), "-out", str(path)],
                check=True, capture_output=True,
            )  # fmt: skip
            path.chmod(0o644)
        return path

    def url(self, name: str) -> str:
        """Return the URL of a proxy, which runs from now on; skip the test where its program is missing."""
        kind = KINDS[name]
        self.run_proxy(kind.program)
        return kind.at().replace("CA", str(self.certificate))

    def run_proxy(self, program: str) -> Program:
        """Return a running proxy, started where it does not run."""
        running = self.programs.get(program)
        if running is not None and running.process.poll() is None:
            return running
        argv, port = _STARTS[program](self)
        log = self.scratch / f"{program}.log"
        self.programs[program] = made = self.world.spawn(*argv, log=log)
        until = time.monotonic() + READY
        while True:
            try:
                self.world.connect(WORLD_IPV4, port, timeout=1).close()
                return made
            except OSError:
                if made.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{program}: {log.read_text(errors='replace')}") from None
                time.sleep(0.02)

    def kill_proxy(self, program: str) -> None:
        """End a proxy as a power cut would."""
        running = self.programs.pop(program)
        running.process.kill()
        running.stop()

    def settings(self, name: str, text: str) -> str:
        """Write a file and return its path; in one step, as who watches it takes what is half written."""
        path = self.scratch / name
        new = path.with_name(f".new-{name}")
        new.write_text(text)
        new.replace(path)
        return str(path)


Start = Callable[[ProxyLab], tuple[list[str], int]]


def _microsocks(lab: ProxyLab) -> tuple[list[str], int]:
    return ["microsocks", "-i", WORLD_IPV4, "-p", "2080"], 2080


def _microsocks_login(lab: ProxyLab) -> tuple[list[str], int]:
    return ["microsocks", "-i", WORLD_IPV4, "-p", "2081", "-u", USER, "-P", PASSWORD], 2081


def _dante(lab: ProxyLab) -> tuple[list[str], int]:
    text = DANTE.format(address=WORLD_IPV4, address6=WORLD_IPV6, port=2082)
    return ["danted", "-f", lab.settings("danted.conf", text)], 2082


def _sing_box(lab: ProxyLab) -> tuple[list[str], int]:
    program = find_sing_box()
    if program is None:
        pytest.skip("not installed: sing-box")
    users = [{"username": USER, "password": PASSWORD}]
    files = {"certificate_path": str(lab.certificate), "key_path": str(lab.scratch / "key.pem")}
    mixed = {"type": "mixed", "listen": WORLD_IPV4}
    inbounds = [
        {**mixed, "listen_port": 2083},
        {**mixed, "listen_port": 2084, "users": users},
        {"type": "http", "listen": WORLD_IPV4, "listen_port": 2085, "users": users,
         "tls": {"enabled": True, **files}},
    ]  # fmt: skip
    text = json.dumps({"inbounds": inbounds, "outbounds": [{"type": "direct"}]})
    return [program, "run", "-c", lab.settings("sing-box.json", text)], 2085


def _mihomo(lab: ProxyLab) -> tuple[list[str], int]:
    program = find_mihomo()
    if program is None:
        pytest.skip("not installed: mihomo")
    folder = lab.scratch / "mihomo"
    folder.mkdir(exist_ok=True)
    text = f"mixed-port: 2086\nallow-lan: true\nbind-address: {WORLD_IPV4}\nmode: direct\n"
    hosts = f"hosts:\n  origin.lab.test: {TARGET}\n"
    return [program, "-d", str(folder), "-f", lab.settings("mihomo.yaml", text + hosts)], 2086


def _tinyproxy(lab: ProxyLab) -> tuple[list[str], int]:
    text = TINYPROXY.format(address=WORLD_IPV4, port=2087, login="")
    return ["tinyproxy", "-d", "-c", lab.settings("tinyproxy.conf", text)], 2087


def _tinyproxy_login(lab: ProxyLab) -> tuple[list[str], int]:
    text = TINYPROXY.format(address=WORLD_IPV4, port=2088, login="BasicAuth joe swordfish")
    return ["tinyproxy", "-d", "-c", lab.settings("tinyproxy-login.conf", text)], 2088


def _squid(lab: ProxyLab) -> tuple[list[str], int]:
    assert lab.certificate
    text = SQUID.format(address=WORLD_IPV4, port=2089, tls_port=2090, scratch=lab.scratch)
    service = f"lab{os.getpid()}"  # its shared memory has a name that is the whole machine's
    return [
        shutil.which("squid") or "squid",
        "-N",
        "-n",
        service,
        "-f",
        lab.settings("squid.conf", text),
    ], 2090


_STARTS: dict[str, Start] = {
    "microsocks": _microsocks,
    "microsocks-login": _microsocks_login,
    "dante": _dante,
    "sing-box": _sing_box,
    "mihomo": _mihomo,
    "tinyproxy": _tinyproxy,
    "tinyproxy-login": _tinyproxy_login,
    "squid": _squid,
}
