"""``tunproxy explain`` and ``tunproxy flows`` about what a running tunproxy really did with curl's flows.

The picture of the namespaces is in ``hostlab``. In the world: nginx at 198.51.100.1:8080, microsocks at
192.0.2.254:1080, and at port 9 nobody.
"""

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import ROUTER_IPV4, TUNPROXY, WORLD_IPV4, HostLab, eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("curl", "dig", "microsocks", "nginx"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN = "explain0"
WEB, SOCKS, NOBODY = 8080, 1080, 9
RESOLVER = "198.51.100.53"  # whom programs ask: it is not there, and need not be
RULES = f"""\
# the rules of the test
DST-PORT,{NOBODY},DIRECT
DOMAIN-SUFFIX,ads.example,REJECT
DOMAIN,shop.example,work
PROCESS-NAME,no-such-program,REJECT
"""
CONFIG = f"""
rules-file = "test.rules"
[dns]
mode = "real-ip"
hosts-file = false
servers = ["{RESOLVER}"]
[dns.hosts]
"shop.example" = "{WORLD_IPV4}"
[upstreams.work]
type = "socks5"
server = "{ROUTER_IPV4}"
port = {SOCKS}
"""
PLUGIN = """
import json
from pathlib import Path
from tunproxy.plugin.api import Route, StreamObserver, hookimpl

NOTES = Path(__file__).with_suffix(".notes")
seen = {"up": b"", "down": b"", "ended": ""}

class Looker(StreamObserver):
    def seen(self, piece):
        seen["up" if piece.is_up else "down"] += piece.data
    def ended(self, reason):
        seen["ended"] = reason

@hookimpl
def observe_flow(info):
    return Looker(up=-1, down=17)

def note(kind, flows):
    with NOTES.open("a") as file:
        for each in flows:
            file.write(json.dumps([kind, each.number, each.upstream, getattr(each, "reason", "")]) + chr(10))

@hookimpl
def flow_opened(flows):
    note("opened", flows)

@hookimpl
def flow_closed(flows):
    note("closed", flows)

@hookimpl
def contribute_routes():
    async def tell(request):
        word = await request.text()
        return {name: str(text) for name, text in seen.items()} | {"word": word, "q": request.query.get("q")}
    async def fail(request):
        raise RuntimeError("broken")
    return [Route("POST", "/seen", tell), Route("GET", "/fail", fail)]
"""


class Place:
    """The lab, with ``tunproxy up`` by the configuration of this test."""

    def __init__(self, lab: HostLab, scratch: Path, *options: str, more: str = "") -> None:
        self.lab = lab
        self.rules = scratch / "test.rules"
        self.rules.write_text(RULES)
        config = scratch / "tunproxy.toml"
        config.write_text(CONFIG + more)
        self.process = lab.start_up("--tun", TUN, "--config", str(config), *options)

    def curl(self, url: str, *more: str) -> tuple[int, str]:
        done = self.lab.run("curl", "-sS", "--max-time", "30", url, *more)
        return done.returncode, done.stdout

    def ask(self, *argv: str) -> tuple[int, str]:
        done = self.lab.run(*TUNPROXY, *argv, "--tun", TUN)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    def document(self, *argv: str) -> dict[str, Any]:
        code, said = self.ask(*argv, "--json")
        assert code == 0, said
        found: dict[str, Any] = json.loads(said)
        return found

    def reload(self, rules: str) -> None:
        self.rules.write_text(rules)
        code, said = self.ask("reload")
        assert code == 0, said

    def flow_to(self, port: int, state: str = "closed") -> dict[str, Any]:
        """Return the row of the newest flow to a port of the world, once it is in that state."""
        rows: list[dict[str, Any]] = []

        def is_there() -> bool:
            found = self.document("flows")["flows"]
            rows[:] = [row for row in found if row["target"] == WORLD_IPV4 and row["target_port"] == port]
            return bool(rows) and rows[0]["state"] == state

        assert eventually(is_there), rows
        return rows[0]

    def look_up(self, name: str) -> str:
        return self.lab.run("dig", "+short", "+tries=1", "+time=20", f"@{RESOLVER}", name).stdout.strip()


@pytest.fixture(scope="module")
def module_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostLab]:
    with HostLab() as lab, lab.web_server(WORLD_IPV4, WEB):
        log = tmp_path_factory.mktemp("explain") / "microsocks.log"
        socks = lab.world.spawn("microsocks", "-i", ROUTER_IPV4, "-p", str(SOCKS), log=log)
        yield lab
        socks.stop()


@pytest.fixture
def lab(module_lab: HostLab) -> Iterator[HostLab]:
    yield module_lab
    module_lab.stop_all()


@pytest.fixture
def place(lab: HostLab, tmp_path: Path) -> Place:
    return Place(lab, tmp_path)


def test_flow_by_a_rule_for_a_name_tells_all_of_it(place: Place) -> None:
    assert place.look_up("shop.example") == WORLD_IPV4
    assert place.curl(f"http://{WORLD_IPV4}:{WEB}/") == (0, "hello from nginx\n")
    row = place.flow_to(WEB)
    assert (row["name"], row["name_from"], row["upstream"]) == ("shop.example", "dns", "work")
    assert (row["rule"], row["reason"]) == ("DOMAIN,shop.example,work", "closed")
    assert row["octets_up"] > 50
    assert row["octets_down"] > 100

    record = place.document("explain", "--flow", str(row["number"]))
    assert record["flow"]["target"] == WORLD_IPV4
    assert record["inputs"]["name"]["value"] == "shop.example"
    assert record["inputs"]["name"]["from"] == "dns"
    assert [(rule["line"], rule["result"]) for rule in record["rules"]] == [
        (2, "not_matched"),
        (3, "not_matched"),
        (4, "matched"),
    ]
    assert record["verdict"]["decided_by"] == "rule"
    assert record["verdict"]["rule"]["line"] == 4
    assert Path(record["verdict"]["rule"]["file"]).name == "test.rules"
    assert record["verdict"]["upstream"] == "work"
    assert [(dial["where"], dial["failure"]) for dial in record["dials"]] == [(f"{ROUTER_IPV4}:{SOCKS}", "")]
    assert record["closed"]["reason"] == "closed"
    assert record["closed"]["octets_down"] == row["octets_down"]

    code, said = place.ask("explain", "--flow", str(row["number"]))
    assert code == 0
    assert said.startswith(f"tcp to shop.example:{WEB} goes through work by way of {ROUTER_IPV4}:{SOCKS}")
    assert "test.rules:4): DOMAIN,shop.example,work" in said
    assert f"attempts   {ROUTER_IPV4}:{SOCKS}: connected after" in said
    assert "closed     closed after" in said


def test_refused_flow_says_refused(place: Place) -> None:
    place.reload(RULES.replace("DST-PORT,9,DIRECT", f"DST-PORT,{WEB},REJECT"))
    code, _ = place.curl(f"http://{WORLD_IPV4}:{WEB}/")
    assert code == 7  # could not connect
    row = place.flow_to(WEB)
    assert (row["reason"], row["verdict"], row["octets_up"]) == ("refused", "reject", 0)
    record = place.document("explain", "--flow", str(row["number"]))
    assert (record["verdict"]["kind"], record["verdict"]["rule"]["line"]) == ("reject", 2)
    assert (record["closed"]["reason"], record["dials"]) == ("refused", [])
    assert "is refused, because of rule 1" in place.ask("explain", "--flow", str(row["number"]))[1]


def test_target_that_nobody_is_at_says_so_with_the_attempt(place: Place) -> None:
    assert place.curl(f"http://{WORLD_IPV4}:{NOBODY}/")[0] == 7
    record = place.document("explain", "--flow", str(place.flow_to(NOBODY)["number"]))
    assert record["closed"]["reason"] == "not reached: connection refused"
    assert [(each["where"], each["failure"]) for each in record["dials"]] == [
        (f"{WORLD_IPV4}:{NOBODY}", "connection refused")
    ]


def test_flows_keep_the_rule_that_decided_them_after_a_reload(place: Place) -> None:
    assert place.look_up("shop.example") == WORLD_IPV4
    with place.lab.host.connect(WORLD_IPV4, WEB):
        assert eventually(lambda: place.document("flows", "--open")["open"] >= 1)
        old = place.flow_to(WEB, "open")
        place.reload(f"DST-PORT,{WEB},DIRECT\n")
        assert place.curl(f"http://{WORLD_IPV4}:{WEB}/")[0] == 0
        new = place.flow_to(WEB)
        records = [place.document("explain", "--flow", str(row["number"])) for row in (old, new)]
    assert records[0]["generation"] == 1
    assert records[1]["generation"] > 1  # by the command, and perhaps once more because it was saved
    assert [record["verdict"]["rule"]["text"] for record in records] == [
        "DOMAIN,shop.example,work",
        f"DST-PORT,{WEB},DIRECT",
    ]
    assert (records[0]["open"] is None, records[0]["closed"]) == (False, None)
    assert [record["verdict"]["rule"]["line"] for record in records] == [4, 1]


def test_flow_that_nobody_has_made_goes_the_way_of_a_real_one(place: Place) -> None:
    record = place.document("explain", f"shop.example:{WEB}")
    assert (record["verdict"]["upstream"], record["verdict"]["rule"]["line"]) == ("work", 4)
    assert f"{TUN}, which is running (process {place.process.pid})" == record["by"]
    assert place.document("explain", f"ads.example:{WEB}")["verdict"]["kind"] == "reject"
    assert place.document("explain", f"tcp:{WORLD_IPV4}:{NOBODY}")["verdict"]["upstream"] == "direct"


def test_datagrams_and_pings_are_flows(place: Place) -> None:
    place.lab.run(TUNPROXY[0], "-c", f"import socket; s = socket.socket(2, 2); "
                  f"s.sendto(b'x' * 100, ({WORLD_IPV4!r}, 5000))")  # fmt: skip
    place.lab.run("ping", "-c", "1", "-W", "20", WORLD_IPV4)
    rows: dict[str, dict[str, Any]] = {}

    def are_there() -> bool:
        rows.update({row["protocol"]: row for row in place.document("flows")["flows"]})
        return "udp" in rows and rows.get("icmp", {}).get("octets_down") == 56

    assert eventually(are_there), rows
    assert (rows["udp"]["octets_up"], rows["udp"]["upstream"]) == (100, "direct")
    assert (rows["icmp"]["octets_up"], rows["icmp"]["octets_down"]) == (56, 56)
    assert place.document("explain", "--flow", str(rows["icmp"]["number"]))["flow"]["protocol"] == "icmp"


def test_flow_that_there_is_not_is_no_traceback(place: Place) -> None:
    code, said = place.ask("explain", "--flow", "4711")
    assert code == 2
    assert said.startswith("tunproxy: there is no flow 4711 (any more)")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, whatever other runs of tests do to those that pytest makes."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_plugins_hear_of_flows_see_octets_and_answer_requests(
    lab: HostLab, tmp_path: Path, open_folder: Path
) -> None:
    plugin = open_folder / "watcher.py"
    plugin.write_text(PLUGIN)
    notes = open_folder / "watcher.notes"
    notes.touch()
    notes.chmod(0o666)
    # it writes a file, which the sandbox keeps plugins from
    place = Place(lab, tmp_path, "--plugin", str(plugin), more="[device]\nsandbox = false\n")
    assert place.curl(f"http://{WORLD_IPV4}:{WEB}/path") == (0, "hello from nginx\n")
    number = place.flow_to(WEB)["number"]

    def noted() -> list[list[object]]:
        return [json.loads(line) for line in notes.read_text().splitlines()]

    assert eventually(lambda: ["closed", number, "direct", "closed"] in noted()), noted()
    assert ["opened", number, "direct", ""] in noted()
    socket = f"/run/tunproxy/{TUN}.sock"
    url = "http://localhost/plugins/watcher"
    code, said = place.curl(f"{url}/seen?q=1", "--unix-socket", socket, "-d", "hello")
    assert code == 0
    seen = json.loads(said)
    assert (seen["word"], seen["q"], seen["ended"]) == ("hello", "1", "closed")
    assert seen["up"].startswith("b'GET /path HTTP/1.1")
    assert seen["down"] == str(b"HTTP/1.1 200 OK\r\n")
    code, said = place.curl(f"{url}/fail", "--unix-socket", socket)
    assert json.loads(said) == {"error": "plugin watcher failed (see the log)"}
    assert (
        place.curl(f"{url}/nothing", "--unix-socket", socket, "-o", "/dev/null", "-w", "%{http_code}")[1]
        == "404"
    )
    with place.lab.host.connect(WORLD_IPV4, WEB):
        assert eventually(lambda: any(row[:1] == ["opened"] and row[1] != number for row in noted()))
        place.process.send_signal(signal.SIGTERM)
        place.process.wait(30)
    assert noted()[-1][0] == "closed"
    assert noted()[-1][3] == "cut: tunproxy has ended"
