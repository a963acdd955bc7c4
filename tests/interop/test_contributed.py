"""What plugins contribute, through `exec` and `up`: the examples of docs/plugin-authors.md.

The picture of the namespaces is in ``tests.system.hostlab``. In the world is a SOCKS 5 proxy that is spoken
to in ROT13. What lies behind it has an address that only the plugin's resolver knows.
"""

import codecs
import contextlib
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN, PORT = "contributed0", 1082
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "plugin-authors.md"
RACK = "10.77.3.12"  # what racks.py makes of r3-u12.lab
NOBODY = "203.0.113.53"  # whom programs ask for names: it is not there, and need not be
CONFIG = """
rules = ["DOMAIN-SUFFIX,lab,hidden"]
[dns]
hosts-file = false
servers = ["racks"]
[upstreams.hidden]
type = "socks5"
server = "{proxy}"
port = {port}
codec = "rot13"
[plugins]
folder = "{folder}"
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as server:
    where = server.getpeername()[0]
    server.sendall(sys.argv[3].encode())
    server.shutdown(socket.SHUT_WR)
    said = b""
    while data := server.recv(65536):
        said += data
    print(where, said.decode())
"""


def documented(name: str) -> str:
    """Return a plugin as the page for authors has it."""
    for block in re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE):
        if block.startswith(f'"""{name}: '):
            return str(block)
    raise AssertionError(f"{GUIDE.name} has no {name}")


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    with HostLab() as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> str:
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("rot13.py", "racks.py"):
        (folder / name).write_text(documented(name))
    path = tmp_path / "tunproxy.toml"
    path.write_text(CONFIG.format(folder=folder, proxy=WORLD_IPV4, port=PORT))
    return str(path)


def rot13(data: bytes) -> bytes:
    return codecs.encode(data.decode("latin-1"), "rot13").encode("latin-1")


def answer(client: socket.socket) -> tuple[bytes, bytes, bytes]:
    """Serve a client to the end; return its greeting, its request, and what it had to say."""
    client.settimeout(20)
    with client, client.makefile("rb") as wire:
        greeting = wire.read(3)
        client.sendall(rot13(b"\5\0"))
        request = wire.read(10)
        client.sendall(rot13(b"\5\0\0\1" + bytes(6)))
        said = wire.read()
        client.sendall(said)
        return greeting, request, said


@contextlib.contextmanager
def hidden_proxy(lab: HostLab) -> Iterator[list[bytes]]:
    """Serve SOCKS 5 in ROT13, and be what lies behind: say back what is said. Yield what came on the wire."""
    heard: list[bytes] = []
    ended = threading.Event()
    with lab.world.listen(WORLD_IPV4, PORT) as listener:
        listener.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    heard.extend(answer(listener.accept()[0]))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            ended.set()
            thread.join(5)


@pytest.mark.parametrize("command", ["exec", "up"])
def test_codec_and_resolver_of_a_plugin(lab: HostLab, config: str, command: str) -> None:
    words = "Hello there, " * 8000
    client = (sys.executable, "-c", CLIENT, "r3-u12.lab", "80", words)
    with hidden_proxy(lab) as heard:
        if command == "exec":
            done = lab.run(*TUNPROXY, "exec", "--config", config, "--", *client)
        else:
            lab.start_up("--tun", TUN, "--config", config)
            machine: dict[str, object] = {"resolver": "file", "settings": f"nameserver {NOBODY}\n"}
            done = lab.run(*client, machine=machine)
            lab.stop_all()
    assert done.stderr == ""
    assert done.stdout == f"{RACK} {words}\n"
    assert [rot13(each) for each in heard] == [
        b"\5\1\0",
        b"\5\1\0\1" + bytes(map(int, RACK.split("."))) + b"\0\x50",
        words.encode(),
    ]
