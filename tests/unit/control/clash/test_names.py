"""Questions to resolvers over the API, and caches."""

import base64
import socket
from pathlib import Path

import dns.message
import dns.rrset

from tests.unit.control.clash.rig import TEXT, Rig, talk
from tests.unit.control.clash.shapes import RECORDED
from tunproxy.dns.fakeip import QUIET

HOSTS = TEXT.replace(
    'servers = ["127.0.0.1:9"]', 'servers = ["127.0.0.1:9"]\nhosts = {"nas.lan" = "192.0.2.7"}'
)


def test_name_is_looked_up(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        found = await rig.get("/dns/query?name=nas.lan&type=A")
        assert found == {
            "Status": 0, "TC": False, "RD": True, "RA": True, "AD": False, "CD": False,
            "Question": [{"Name": "nas.lan.", "Qtype": 1, "Qclass": 1}],
            "Answer": [
                {"name": "nas.lan.", "type": 1, "TTL": found["Answer"][0]["TTL"], "data": "192.0.2.7"}
            ],
        }  # fmt: skip
        assert (await rig.get("/dns/query?name=nas.lan"))["Answer"] == found["Answer"]
        assert "Answer" not in await rig.get("/dns/query?name=nas.lan&type=AAAA")

    talk(tmp_path, conversation, text=HOSTS)


def test_failure_is_told_as_the_real_one_tells_it(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        recorded = RECORDED["GET /dns/query?name=localhost&type=A"]
        found = await rig.get("/dns/query?name=a.example&type=A", recorded["status"])
        assert found["message"].startswith("all DNS requests failed, first error: ")
        for wrong in (
            "",
            "name=",
            "name=a&type=NOPE",
            "name=a&type=ANY",
            f"name={'a' * 70}.x",
            "name=a&type=%ff",
        ):
            await rig.get(f"/dns/query?{wrong}", 400)

    talk(tmp_path, conversation)


def test_names_are_nobody_s_business_where_they_are_off(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        found = await rig.get("/dns/query?name=a.example", 500)
        assert "nobody answers questions here" in found["message"]
        await rig.ask("POST", "/cache/dns/flush")
        await rig.ask("POST", "/cache/fakeip/flush")

    talk(tmp_path, conversation, text=TEXT.replace('servers = ["127.0.0.1:9"]', 'mode = "off"'))


def test_dns_over_https(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        query = dns.message.make_query("nas.lan", "A").to_wire()
        text = base64.urlsafe_b64encode(query).decode().rstrip("=")
        async with rig.client.get(f"/doh?dns={text}") as answer:
            assert (answer.status, answer.content_type) == (200, "application/dns-message")
            got = dns.message.from_wire(await answer.read())
        async with rig.client.post("/doh", data=query) as answer:
            assert dns.message.from_wire(await answer.read()).answer == got.answer
        assert [str(each) for each in got.answer[0]] == ["192.0.2.7"]
        for wrong in ("", "dns=", "dns=%21", "dns=AAAA"):
            await rig.get(f"/doh?{wrong}", 400)
        for garbage in (b"", b"x" * 11, b"\xff" * 5000):
            async with rig.client.post("/doh", data=garbage) as answer:
                assert answer.status == 400

    talk(tmp_path, conversation, text=HOSTS)


def test_fake_addresses_are_flushed_where_they_are_handed_out(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        pools = []
        for worker in rig.workers:
            assert worker.names.current is not None
            pool = worker.names.current.fakes
            assert pool is not None
            assert pool.answer("old.example", 1) is not None
            assert pool.name_of(socket.inet_aton("198.18.0.16")) == "old.example"
            lease = pool._leases["old.example"]
            lease.used_at -= QUIET + 1
            assert pool.answer("new.example", 1) is not None
            pools.append(pool)
        await rig.ask("POST", "/cache/fakeip/flush")
        assert [len(pool) for pool in pools] == [1, 2]  # one that was just asked for keeps its name

    fake = 'mode = "fake-ip"\nfake-ip-file = ""\nservers'
    talk(tmp_path, conversation, text=TEXT.replace("servers", fake, 1), workers=2)
