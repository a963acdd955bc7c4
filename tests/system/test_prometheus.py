"""A real Prometheus asks a running tunproxy and a relay; dashboard and alerts ask Prometheus.

The picture of the namespaces is in ``hostlab``. Prometheus runs on the host.
"""

import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import dns.message
import pytest

from tests.system.hostlab import (
    TUNPROXY,
    WORLD_IPV4,
    HostLab,
    eventually,
    host_for_tests,
    read_line,
)
from tests.system.peers import serve_clients

pytestmark = pytest.mark.timeout(100)

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "packaging" / "prometheus" / "tunproxy.rules.yml"
EXAMPLE = ROOT / "packaging" / "prometheus" / "prometheus.yml"
DASHBOARD = json.loads((ROOT / "packaging" / "grafana" / "tunproxy.json").read_text())

API, PORT, RELAY, RELAY_METRICS = 9097, 9098, 8098, 9099
CONFIG = f"""
rules = ["DST-PORT,9,REJECT", "DST-PORT,80,DIRECT,observe", "IP-CIDR,{WORLD_IPV4}/32,work,no-resolve"]
[api]
listen = "127.0.0.1:{API}"
[dns]
servers = ["192.0.2.254"]
[dns.hosts]
"nas.test" = "192.0.2.9"
[groups.work]
type = "select"
members = ["tested"]
[groups.tested]
type = "url-test"
members = ["DIRECT"]
url = "http://{WORLD_IPV4}:8000/"
"""
RELAY_CONFIG = f"""
listen = ["127.0.0.1:{RELAY}"]
workers = 1
anonymous = true
[limits]
connections = 100
[metrics]
listen = "127.0.0.1:{RELAY_METRICS}"
"""
# What has no series before somebody has made a mistake.
FAULTS = ("tunproxy_upstream_faults_total", "tunproxy_plugin_faults_total")


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the panels' titles and what they ask, with Grafana's variables filled in."""
    annotations = [("annotation", each["expr"]) for each in DASHBOARD["annotations"]["list"]]
    panels = [
        (each["title"], target["expr"]) for each in DASHBOARD["panels"] for target in each.get("targets", ())
    ]
    for title, asked in [*annotations, *panels]:
        yield title, asked.replace("$__rate_interval", "1m").replace("$instance", ".*")


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian: prometheus)")
    return found


class Prometheus:
    """A running one, and a connection to it."""

    def __init__(self, lab: HostLab, folder: Path) -> None:
        config = folder / "prometheus.yml"
        config.write_text(configuration(folder).replace("15s", "1s"))
        self.process = lab.start(
            tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{PORT}", "--log.level=warn",
        )  # fmt: skip
        self._lab = lab

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer."""
        with self._lab.host.entered():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
            connection.close()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def finds(self, asked: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now."""
        found: list[dict[str, Any]] = self.ask("query", query=asked)["result"]
        return found

    def names(self) -> set[str]:
        """Return the names of metrics that there are, even of those that nothing has been counted in."""
        families = self.ask("metadata")
        return {*families, *(f"{name}_total" for name in families)}  # which OpenMetrics leaves out there

    def has_scraped(self) -> bool:
        """Tell whether both have been asked twice: less makes no rate."""
        try:
            return (
                len(
                    self.finds(
                        "rate(tunproxy_frames_total[1m]) and on () rate(tunproxy_relay_flows_total[1m])"
                    )
                )
                == 2
            )
        except (OSError, ValueError):  # it has not begun, or says so in words
            return False


def configuration(folder: Path) -> str:
    """Return the example, with the places of this test."""
    text = EXAMPLE.read_text().replace("/etc/prometheus/tunproxy-secret", str(folder / "secret"))
    text = text.replace("127.0.0.1:9090", f"127.0.0.1:{API}").replace(
        "127.0.0.1:9180", f"127.0.0.1:{RELAY_METRICS}"
    )
    return text.replace("- tunproxy.rules.yml", f"- {ALERTS}")


lab = pytest.fixture(scope="module", name="lab")(host_for_tests)


class World:
    """What runs on the host."""

    def __init__(self, lab: HostLab, folder: Path) -> None:
        self.lab = lab
        (folder / "tunproxy.toml").write_text(CONFIG)
        (folder / "relay.toml").write_text(RELAY_CONFIG)
        as_json = ("--log-format", "json")
        self.prometheus = Prometheus(lab, folder)
        self.relay = lab.start(*TUNPROXY, "relay", "--config", str(folder / "relay.toml"), *as_json)
        self.up = lab.start_up("--tun", "prom0", "--config", str(folder / "tunproxy.toml"), *as_json)
        assert self.up.stderr is not None
        self.lines: IO[str] = self.up.stderr
        self.start_line: str = self.up.start_line  # type: ignore[attr-defined]
        secret = Path(os.environ["XDG_STATE_HOME"]) / "tunproxy" / "api-secret"
        (folder / "secret").write_text(secret.read_text())

    def traffic(self) -> None:
        """Have connections, a refusal, a question for a name, and a client of the relay."""
        for _ in range(3):
            assert hello_from_world(self.lab, 8000)
        with pytest.raises(ConnectionError):
            self.lab.host.connect(WORLD_IPV4, 9, timeout=10)
        with self.lab.host.datagram("0.0.0.0") as sock:
            sock.settimeout(10)
            sock.sendto(dns.message.make_query("nas.test", "A").to_wire(), ("198.51.100.77", 53))
            assert b"\xc0\x00\x02\x09" in sock.recv(1000)
        with self.lab.host.connect("127.0.0.1", RELAY, timeout=10) as client:
            client.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 403 " in client.recv(1000)


def hello_from_world(lab: HostLab, port: int) -> bool:
    with lab.host.connect(WORLD_IPV4, port, timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.recv(1000).startswith(b"HTTP/1.1 204")


def answer(client: socket.socket, peer: str) -> None:
    with client:
        client.settimeout(10)
        client.recv(1000)
        client.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def world(lab: HostLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tool("prometheus")
    with serve_clients(lab.world, WORLD_IPV4, answer, 8000):
        made = World(lab, tmp_path_factory.mktemp("prometheus"))
        assert eventually(made.prometheus.has_scraped, 40)
        made.traffic()
        yield made
    lab.stop_all()


def test_every_expression_of_the_dashboard_has_data(world: World) -> None:
    prometheus = world.prometheus
    assert eventually(lambda: prometheus.finds('rate(tunproxy_verdicts_total{target="work"}[1m])'), 20)
    known = prometheus.names()
    left = []
    for title, asked in expressions():
        names = set(re.findall(r"\btunproxy_\w+", asked))
        assert names <= known, f"{title} names {names - known}, which nobody has"
        if not names & {*FAULTS} and "> 0" not in asked:
            left.append((title, asked))

    def have_data() -> bool:
        """Tell whether none has none left: each scrapes twice after the traffic, when its turn has come."""
        left[:] = [each for each in left if not prometheus.finds(each[1])]
        return not left

    assert eventually(have_data, 30), left


def test_traffic_is_in_the_numbers(world: World) -> None:
    def is_between(asked: str, least: float, most: float = math.inf) -> bool:
        """Tell whether it comes to have a value in these bounds: what was counted is scraped by and by."""
        return eventually(
            lambda: any(least <= float(each["value"][1]) <= most for each in world.prometheus.finds(asked)),
            20,
        )

    assert is_between('tunproxy_rule_flows_total{rule="1"}', 1, 1)
    assert is_between('sum(tunproxy_rule_flows_total{target="work"})', 3)
    assert is_between('tunproxy_verdicts_total{target="REJECT"}', 1, 1)
    assert is_between('tunproxy_dns_events_total{event="hosts"}', 1, 1)
    assert is_between('tunproxy_upstream_up{upstream="direct"}', 1, 1)
    assert is_between('tunproxy_upstream_test_seconds{upstream="direct"}', 1e-9, 10)
    assert is_between('tunproxy_group_member_workers{group="work",member="tested"}', 1)
    assert is_between('tunproxy_relay_outcomes_total{outcome="denied"}', 1, 1)
    assert is_between("tunproxy_relay_worker_memory_bytes", 1 << 20)


def test_alerts_are_evaluated_and_name_what_there_is(world: World) -> None:
    prometheus = world.prometheus
    known = prometheus.names()

    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    assert eventually(lambda: all(rule["health"] == "ok" for rule in rules()), 20), rules()
    for rule in rules():
        assert set(re.findall(r"\btunproxy_\w+", rule["query"])) <= known, rule["name"]
    fires = [rule["name"] for rule in rules() if rule["state"] == "firing"]
    assert fires == []


def test_worker_that_dies_is_a_line_with_fields_and_an_alert(world: World) -> None:
    line = json.loads(world.start_line)
    assert (line["level"], line["logger"]) == ("notice", "tunproxy.told")
    assert "worker uid" in line["message"]
    pid = world.up.pid
    first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 20
    while "died" not in (line := json.loads(read_line(world.lines)))["message"]:
        assert time.monotonic() < until
    assert (line["level"], line["worker"]) == ("warning", "0")
    asked = 'ALERTS{alertname="TunproxyWorkerDied",alertstate="firing",worker="0"}'
    assert eventually(lambda: world.prometheus.finds(asked), 30)


def test_relay_writes_json(world: World) -> None:
    assert world.relay.stderr is not None
    line = json.loads(read_line(world.relay.stderr))
    assert line["message"].startswith(f"relay: listening at 127.0.0.1:{RELAY}")
    assert (line["level"], line["logger"]) == ("info", "tunproxy.relay.workers")


def test_example_and_alerts_are_well_formed(tmp_path: Path) -> None:
    promtool = tool("promtool")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "prometheus.yml").write_text(configuration(tmp_path))
    for what in (("config", tmp_path / "prometheus.yml"), ("rules", ALERTS)):
        done = subprocess.run([promtool, "check", *what], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_come_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(
        (Path(__file__).parent / "prometheus_alerts.yml").read_text().replace("ALERTS", str(ALERTS))
    )
    done = subprocess.run(
        [tool("promtool"), "test", "rules", tmp_path / "alerts.yml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_panels_have_a_place_and_a_number_each() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24  # Grafana's columns
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", ()))
