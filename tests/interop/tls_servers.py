"""Servers that take TLS off and pass on what is inside, and those that tests need to be refused.

host: tunproxy ══════ world: stunnel, s_server, sing-box at 198.51.100.1 ── what serves 203.0.113.7
"""

import json
import time
from dataclasses import dataclass

from tests.interop.proxied import BANNER, DIGEST, ECHO
from tests.interop.proxies import TARGET, ProxyLab
from tests.system.hostlab import WORLD_IPV4
from tests.system.namespace import Program
from tests.unit.rulesets.programs import find_sing_box
from tests.unit.upstream.certificates import Made, make

FIRST_TARGET = 5500  # a flow's target port tells its upstream
FIRST_SERVER = 4400
READY = 20.0  # seconds that a server may take to start on a busy machine
DOWNLOAD = 7030  # sends a large stream
SOCKS = 2080  # microsocks, of ``proxies``

AUTHORITY = make("authority.test", is_authority=True)
SERVER = make(WORLD_IPV4, "proxy.lab.test", signed_by=AUTHORITY)
EXPIRED = make(WORLD_IPV4, signed_by=AUTHORITY, days=-1)
OTHER = make("other.test", signed_by=AUTHORITY)
STRANGER = make("stranger.test")
OURS = make("ours.test", signed_by=AUTHORITY)
OUR_PASSWORD = "sesame"
CERTIFICATES = {
    "server": SERVER, "expired": EXPIRED, "other": OTHER, "stranger": STRANGER, "ours": OURS,
}  # fmt: skip


@dataclass(frozen=True)
class Service:
    """A service of stunnel: what it shows, where it leads, and what else it is told."""

    certificate: str
    leads_to: tuple[str, int]
    more: str = ""


SERVICES = {
    "echo": Service("server", (TARGET, ECHO)),
    "digest": Service("server", (TARGET, DIGEST)),
    "download": Service("server", (TARGET, DOWNLOAD)),
    "banner": Service("server", (TARGET, BANNER)),
    "expired": Service("expired", (TARGET, ECHO)),
    "other": Service("other", (TARGET, ECHO)),
    "stranger": Service("stranger", (TARGET, ECHO)),
    "old": Service("server", (TARGET, ECHO), "sslVersionMax = TLSv1.2\n"),
    "choosy": Service("server", (TARGET, ECHO), "CAfile = {folder}/ca.pem\nverifyChain = yes\n"),
    "socks": Service("server", (WORLD_IPV4, SOCKS)),
}
PORTS = {name: FIRST_SERVER + at for at, name in enumerate([*SERVICES, "s_server", "sing-box"])}


def start_servers(lab: ProxyLab) -> list[Program]:
    """Write the certificates, start the servers, and wait for them."""
    folder = lab.scratch
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    (folder / "ca.pem").chmod(0o644)
    for name, made in CERTIFICATES.items():
        _write(lab, name, made)
    text = f"foreground = yes\npid =\nsyslog = no\ndebug = warning\noutput = {folder}/stunnel.txt\n"
    for name, service in SERVICES.items():
        host, port = service.leads_to
        text += (
            f"[{name}]\naccept = {WORLD_IPV4}:{PORTS[name]}\nconnect = {host}:{port}\n"
            f"cert = {folder}/{service.certificate}.pem\nkey = {folder}/{service.certificate}.key\n"
            + service.more.format(folder=folder)
        )
    started = [
        lab.world.spawn("stunnel4", lab.settings("stunnel.conf", text), log=folder / "stunnel.log"),
        lab.world.spawn(
            "openssl", "s_server", "-accept", f"{WORLD_IPV4}:{PORTS['s_server']}", "-rev", "-quiet",
            "-cert", f"{folder}/server.pem", "-key", f"{folder}/server.key", log=folder / "s_server.log",
        ),
    ]  # fmt: skip
    waited = [*SERVICES, "s_server"]
    sing_box = find_sing_box()
    if sing_box is not None:
        started.append(lab.world.spawn(sing_box, "run", "-c", _sing_box(lab), log=folder / "choosy.log"))
        waited.append("sing-box")
    for name in waited:
        _wait(lab, PORTS[name])
    return started


def _sing_box(lab: ProxyLab) -> str:
    """An HTTP proxy inside Go's TLS that wants a certificate of its clients."""
    tls = {
        "enabled": True,
        "certificate_path": f"{lab.scratch}/server.pem",
        "key_path": f"{lab.scratch}/server.key",
        "client_authentication": "require-and-verify",
        "client_certificate_path": [f"{lab.scratch}/ca.pem"],
    }
    inbound = {"type": "http", "listen": WORLD_IPV4, "listen_port": PORTS["sing-box"], "tls": tls}
    return lab.settings("choosy.json", json.dumps({"inbounds": [inbound], "outbounds": [{"type": "direct"}]}))


def _write(lab: ProxyLab, name: str, made: Made) -> None:
    """Write a certificate, and its key, which nobody but root can read."""
    (lab.scratch / f"{name}.pem").write_bytes(made.pem)
    key = lab.scratch / f"{name}.key"
    key.write_bytes(made.key_pem(OUR_PASSWORD if name == "ours" else ""))
    key.chmod(0o600)


def _wait(lab: ProxyLab, port: int) -> None:
    until = time.monotonic() + READY
    while True:
        try:
            lab.world.connect(WORLD_IPV4, port, timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                logs = [path.read_text(errors="replace") for path in lab.scratch.glob("*.log")]
                raise RuntimeError(f"nobody at port {port}: {logs}") from None
            time.sleep(0.02)
