"""QUIC through the whole program: a rule about a name decides by what a client's Initial packets say.

The picture of the namespaces is in ``tests.system.hostlab``. Client and server are aioquic's; nobody is asked
for a name, so that the Initial is all there is to know it by. One that does not fit into a datagram is what
browsers send: their key shares for the time after quantum computers take 1200 octets alone.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, HostLab, eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("openssl"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN = "quic0"
PORT = 4433
NAME, REFUSED = "www.site.test", "ads.site.test"
PADDING = ["echo", *(f"{number:03}".ljust(200, "x") for number in range(10))]  # protocols that nobody speaks
CONFIG = f"""
rules = ["DOMAIN,{REFUSED},REJECT", "DOMAIN,{NAME},DIRECT", "MATCH,REJECT-DROP"]
[dns]
mode = "off"
"""
SERVER = """
import asyncio, sys
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

class Echo(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data.upper(), event.end_stream)
            self.transmit()

async def main():
    address, port, certificate, key = sys.argv[1:]
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    configuration.load_cert_chain(certificate, key)
    await serve(address, int(port), configuration=configuration, create_protocol=Echo)
    print("ready", flush=True)
    await asyncio.Future()

asyncio.run(main())
"""
CLIENT = """
import asyncio, json, ssl, sys
from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

async def main():
    address, port, name, protocols, patience = sys.argv[1:]
    configuration = QuicConfiguration(
        alpn_protocols=json.loads(protocols), server_name=name, verify_mode=ssl.CERT_NONE)
    try:
        async with asyncio.timeout(float(patience)):
            async with connect(address, int(port), configuration=configuration) as client:
                reader, writer = await client.create_stream()
                writer.write(b"hello " * 20_000)
                writer.write_eof()
                said = await reader.read()
                print("heard" if said == b"HELLO " * 20_000 else said[:100])
    except TimeoutError:
        print("silence")

asyncio.run(main())
"""


class Place:
    """The lab, the server in the world, and ``tunproxy up``."""

    def __init__(self, lab: HostLab, scratch: Path) -> None:
        self.lab = lab
        certificate, key = scratch / "certificate.pem", scratch / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", "/CN=lab", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        argv = (sys.executable, "-c", SERVER, WORLD_IPV4, str(PORT), str(certificate), str(key))
        self.server = lab.world.spawn(*argv, log=scratch / "server.log")
        assert eventually(lambda: "ready" in self.server.log.read_text(), 20), self.server.log.read_text()
        config = scratch / "tunproxy.toml"
        config.write_text(CONFIG)
        self.process = lab.start_up("--tun", TUN, "--config", str(config))

    def visit(self, name: str, protocols: list[str], patience: float = 20) -> str:
        """Return how a client fared that means name."""
        asked = (WORLD_IPV4, str(PORT), name, json.dumps(protocols), str(patience))
        done = self.lab.run(sys.executable, "-c", CLIENT, *asked)
        return done.stdout.strip() or done.stderr

    def rule_of(self, name: str) -> str:
        """Return the rule that decided the newest flow to a host of this name."""
        # not above: which tunproxy the tests run is settled after pytest has loaded this
        from tunproxy.control import client, endpoint

        (path,) = [found.path for found in endpoint.find() if found.pid == self.process.pid]
        rows = client.fetch_flows(path, 20)["flows"]
        found = [row for row in rows if row["name"] == name]
        assert found, rows
        assert found[0]["protocol"] == "udp"
        record = client.fetch_flow(path, found[0]["number"])
        assert record["inputs"]["name"]["from"].startswith("sniffed"), record["inputs"]
        return str(record["verdict"]["rule"]["text"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with HostLab() as lab:
        made = Place(lab, tmp_path_factory.mktemp("quic"))
        yield made
        made.server.stop()


def datagrams(name: str, protocols: list[str]) -> int:
    """Return how many datagrams such a client's first words take."""
    client = QuicConnection(configuration=QuicConfiguration(server_name=name, alpn_protocols=protocols))
    client.connect((WORLD_IPV4, PORT), now=0.0)
    return len(client.datagrams_to_send(now=0.0))


@pytest.mark.parametrize("protocols", [["echo"], PADDING], ids=["in one Initial", "over several"])
def test_name_in_the_initial_decides(place: Place, protocols: list[str]) -> None:
    assert (datagrams(NAME, protocols) > 1) is (protocols is PADDING)
    assert place.visit(NAME, protocols) == "heard"
    assert place.rule_of(NAME) == f"DOMAIN,{NAME},DIRECT"
    assert place.visit(REFUSED, protocols, patience=3) == "silence"  # aioquic listens to no ICMP
    assert place.rule_of(REFUSED) == f"DOMAIN,{REFUSED},REJECT"


def test_name_that_no_rule_is_about_goes_on_to_the_next(place: Place) -> None:
    assert place.visit("other.site.test", ["echo"], patience=3) == "silence"
    assert place.rule_of("other.site.test") == "MATCH,REJECT-DROP"
