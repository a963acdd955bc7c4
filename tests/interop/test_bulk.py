"""Much at once, each way, compared by hash: through Shadowsocks servers, and our relay with zstd inside TLS.

64 MB each way unless ``TUNPROXY_TEST_MEGABYTES`` says otherwise: with 1000 it is a gigabyte.
"""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from tests.interop.proxied import Up
from tests.interop.proxies import TARGET, ProxyLab
from tests.interop.relays import PASSWORD, RELAY, USER, start_relay
from tests.interop.shadowsocks import password_of
from tests.interop.transfer import Both
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, eventually
from tests.system.peers import MEGABYTE
from tests.unit.rulesets.programs import find_sing_box
from tunproxy.relay.passwords import make_hash

MEGABYTES = int(os.environ.get("TUNPROXY_TEST_MEGABYTES", "64"))
PATIENCE = 90 + MEGABYTES  # seconds: so slow is nothing but a hang

pytestmark = [
    pytest.mark.timeout(PATIENCE + 20),
    pytest.mark.needs("openssl", "setpriv"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

WAYS = {"ss-server": 7411, "sing-box": 7412, "relay": 7413}  # and the target's port, which tells them apart
OLD_METHOD, OLD_PORT = "aes-128-gcm", 8411
NEW_METHOD, NEW_PORT = "2022-blake3-aes-128-gcm", 8412


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made, contextlib.ExitStack() as stack:
        relay = start_relay(made, make_hash("fish"))
        stack.callback(relay.kill)
        for name, argv, port in _servers(made):
            made.programs[name] = made.world.spawn(*argv, log=made.scratch / f"{name}.log")
            assert eventually(lambda port=port: _answers(made, port), 30)
        relay.await_ready()
        login = f'user = "{USER}"\npassword = {json.dumps(PASSWORD)}\n'
        tables = {
            "ss-server": f'type = "shadowsocks"\nport = {OLD_PORT}\nmethod = "{OLD_METHOD}"\n'
            f"password = {json.dumps(password_of(OLD_METHOD))}\n",
            "sing-box": f'type = "shadowsocks"\nport = {NEW_PORT}\nmethod = "{NEW_METHOD}"\n'
            f"password = {json.dumps(password_of(NEW_METHOD))}\n",
            "relay": f'type = "https"\nport = {RELAY}\n{login}ca_file = "{made.certificate}"\n'
            'codecs = ["zstd"]\n',
        }
        rules = [f"DST-PORT,{port},{name}" for name, port in WAYS.items()]
        text = f'default = "direct"\nrules = {json.dumps(rules)}\n[dns]\nmode = "off"\n'
        for name, table in tables.items():
            text += f'[upstreams."{name}"]\nserver = "{WORLD_IPV4}"\n{table}'
        with Up(made, "--config", made.settings("tunproxy.toml", text), name="up-bulk") as up:
            yield made
            up.check()
        assert f"{TARGET}:{WAYS['relay']}: opened (zstd)" in relay.output(), relay.output()


def _servers(lab: ProxyLab) -> Iterator[tuple[str, list[str], int]]:
    ss_server, sing_box = shutil.which("ss-server"), find_sing_box()
    if ss_server:
        place = ["-s", WORLD_IPV4, "-p", str(OLD_PORT)]
        yield "ss-server", [ss_server, *place, "-k", password_of(OLD_METHOD), "-m", OLD_METHOD], OLD_PORT
    if sing_box:
        inbound = {
            "type": "shadowsocks", "listen": WORLD_IPV4, "listen_port": NEW_PORT,
            "method": NEW_METHOD, "password": password_of(NEW_METHOD),
        }  # fmt: skip
        text = json.dumps({"inbounds": [inbound], "outbounds": [{"type": "direct"}]})
        yield "sing-box", [sing_box, "run", "-c", lab.settings("sing-box.json", text)], NEW_PORT


def _answers(lab: ProxyLab, port: int) -> bool:
    try:
        lab.world.connect(WORLD_IPV4, port, timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", WAYS)
def test_all_of_it_arrives_unaltered_both_ways_at_once(lab: ProxyLab, name: str) -> None:
    if name != "relay" and name not in lab.programs:
        pytest.skip(f"not installed: {name}")
    size = MEGABYTES * MEGABYTE
    with (
        lab.world.listen(TARGET, WAYS[name]) as listener,
        lab.host.connect(TARGET, WAYS[name], timeout=60) as client,
    ):
        ours = Both(client, "up", "down", size)
        server = listener.accept()[0]
        server.settimeout(60)
        with server:
            theirs = Both(server, "down", "up", size)
            of_client, of_server = ours.hashes(PATIENCE), theirs.hashes(PATIENCE)
            assert of_client == of_server
            assert of_client["up"] != of_client["down"]
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
