"""What a worker tells of its flows, with everything around it."""

import asyncio
import socket

import pytest

from tests.unit.control.policies import plugins_for
from tests.unit.control.test_worker import Worker
from tests.unit.control.test_worker import worker as worker
from tests.unit.loop.rig import syn, tcp_flags
from tests.unit.plugin.test_manager import plugin
from tunproxy.control import keeper
from tunproxy.control.config.sources import Sources
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.questions import Questions
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.records import FlowClosed
from tunproxy.wire.tcp import ACK, SYN


def test_plugins_are_told_the_last_flows_before_the_end(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[FlowClosed] = []
    times: list[int] = []

    def load(sources: Sources, *more: object) -> Plugins:
        plugins = plugins_for(sources)
        hooks = plugin(
            flow_opened=lambda flows: times.append(len(flows)), flow_closed=lambda flows: closed.extend(flows)
        )
        assert plugins.register(hooks, "mine")
        return plugins

    monkeypatch.setattr(keeper, "load_plugins", load)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def client() -> None:
            worker.wire.send(syn(server.getsockname()[1]))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK

        worker.run(client)
    assert times == [1]
    assert [(each.number, each.upstream, each.reason) for each in closed] == [
        (1, "direct", "cut: tunproxy has ended")
    ]


def test_supervisor_may_ask_about_flows(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        async def ask() -> None:
            inquiry = Inquiry([Questions(worker.supervisor)])
            told = await inquiry.flows(10)
            assert [(row["number"], row["target_port"], row["state"]) for row in told["flows"]] == [
                (1, port, "open")
            ]
            record = await inquiry.flow(1)
            assert [each["where"] for each in record["dials"]] == [f"127.0.0.1:{port}"]
            assert record["verdict"]["upstream"] == "direct"
            assert "there is no flow 2" in (await inquiry.flow(2))["error"]

        def client() -> None:
            worker.wire.send(syn(port))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK
            asyncio.run(ask())

        worker.run(client)
