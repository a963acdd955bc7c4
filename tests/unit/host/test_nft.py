"""A table of ours in the real nftables, in a network namespace of the test's own."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.host.test_sock_diag import bring_up_loopback
from tunproxy.errors import SystemChangeError
from tunproxy.host import libc, nft
from tunproxy.host.descriptors import let_go
from tunproxy.host.nft import BaseChain, NftTable

pytestmark = [needs_namespaces, pytest.mark.needs("nft")]

COUNTING = """
counter asked {}
chain out { type filter hook output priority 0; policy accept; udp dport 53 counter name asked
}"""


def shown() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, timeout=10).stdout


def test_table_counts_is_replaced_and_vanishes_when_it_is_closed() -> None:
    def check() -> None:
        bring_up_loopback()
        table = NftTable("tunproxy_test")
        table.apply("chain old {}")
        table.apply(COUNTING)
        assert "old" not in shown()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(3):
                sock.sendto(b"?", ("127.0.0.1", 53))
        assert table.counters() == {"asked": 3}
        table.close()
        table.close()
        assert shown() == ""
        with pytest.raises(SystemChangeError, match=r"it is closed$"):
            table.counters()

    isolated(check)


def test_chains_at_a_hook_are_those_of_all_tables() -> None:
    def check() -> None:
        table = NftTable("tunproxy_test")
        assert table.chains_at("output") == []
        table.apply(COUNTING)
        rules = (
            "table ip fw { chain o { type filter hook output priority 5; policy drop; }; chain called { }; }"
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=10)
        assert table.chains_at("output") == [
            BaseChain("inet", "tunproxy_test", "out", "accept"),
            BaseChain("ip", "fw", "o", "drop"),
        ]
        assert table.chains_at("input") == []
        table.close()

    isolated(check)


def test_table_is_nobody_elses_to_change() -> None:
    def check() -> None:
        table = NftTable("tunproxy_test")
        table.apply(COUNTING)
        before = shown()
        subprocess.run(["nft", "flush", "ruleset"], check=True, timeout=10)
        with pytest.raises(SystemChangeError, match=r"operation not permitted \(run as root; or another"):
            NftTable("tunproxy_test").apply("")
        assert shown() == before
        table.delete()
        table.delete()
        assert shown() == ""

    isolated(check)


def test_table_vanishes_with_its_process_though_a_child_lives_on() -> None:
    def check() -> None:
        reading, writing = os.pipe()
        owner = os.fork()
        if owner == 0:
            table = NftTable("tunproxy_test")
            table.apply(COUNTING)
            if os.fork() == 0:
                let_go({writing})
                os.write(writing, str(os.getpid()).encode())
            signal.pause()
        child = int(os.read(reading, 20))
        assert "asked" in shown()
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        try:
            assert shown() == ""
        finally:
            os.kill(child, signal.SIGKILL)

    isolated(check)


def test_table_without_an_owner_stays_until_it_is_deleted() -> None:
    def check() -> None:
        table = NftTable("tunproxy_test", is_owned=False)
        table.apply(COUNTING)
        table.close()
        assert "asked" in shown()
        NftTable("tunproxy_test", is_owned=False).delete()
        assert shown() == ""

    isolated(check)


def test_table_is_found_and_deleted_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        monkeypatch.setattr(nft, "LIBRARY", "libnone.so")
        for family, name in (("inet", "ours"), ("ip", "theirs"), ("inet", "ours2")):
            subprocess.run(["nft", "add", "table", family, name], check=True)
        assert nft.has_table("ours")
        assert not nft.has_table("theirs")
        nft.delete_table("ours")
        nft.delete_table("ours")
        assert not nft.has_table("ours")
        assert nft.has_table("ours2")
        libc.capset(effective=0, permitted=0)
        assert not nft.has_table("ours2")
        why = "cannot remove the nftables table ours2: operation not permitted (run as root"
        with pytest.raises(SystemChangeError, match=f"^{re.escape(why)}"):
            nft.delete_table("ours2")

    isolated(check)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("chain x { type filter hook nowhere priority 0; }", "unknown chain hook"),
        (
            'chain x { socket cgroupv2 level 2 "not/here" accept; }',
            "cgroupv2 path fails: No such file or directory",
        ),
        ("nonsense", "syntax error"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_table_as_before(content: str, why: str) -> None:
    def check() -> None:
        table = NftTable("tunproxy_test")
        table.apply(COUNTING)
        before = shown()
        with pytest.raises(SystemChangeError) as failed:
            table.apply(content)
        assert str(failed.value).startswith(f"cannot change the nftables table tunproxy_test: {why}")
        assert "\n" not in str(failed.value)
        assert shown() == before

    isolated(check)


def test_without_rights_it_says_so() -> None:
    def check() -> None:
        os.setresuid(61_000, 61_000, 61_000)
        with pytest.raises(SystemChangeError, match=r"[oO]peration not permitted \(run as root"):
            NftTable("tunproxy_test").apply("")

    isolated(check)


def test_without_a_descriptor_it_says_so_and_our_process_goes_on() -> None:
    """The library ends the process that it is in where it gets no socket."""

    def check() -> None:
        table = NftTable("tunproxy_test")
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            with pytest.raises(SystemChangeError, match=r"^cannot use nftables: too many open files$"):
                NftTable("tunproxy_test")
        table.apply(COUNTING)

    isolated(check)


def test_kernel_without_netfilter_is_told_of_and_our_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "NETLINK_NETFILTER", 31)  # which no kernel has
    with pytest.raises(SystemChangeError, match=r"^cannot use nftables: protocol not supported \(this"):
        NftTable("tunproxy_test")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "LIBRARY", "libnftables-of-nobody.so.1")
    with pytest.raises(SystemChangeError, match=r"is missing \(install libnftables1\)$"):
        NftTable("tunproxy_test")


def test_elements_of_a_set_are_told_with_what_each_has_counted() -> None:
    content = """
    set seen { type inet_proto . inet_service; flags dynamic; counter; }
    set plain { type inet_proto . inet_service; elements = { udp . 53 } }
    chain out { type filter hook output priority 0; policy accept;
      meta l4proto { tcp, udp } update @seen { meta l4proto . th dport }
    }"""

    def check() -> None:
        bring_up_loopback()
        table = NftTable("tunproxy_test")
        table.apply(content)
        assert table.counted("seen") == []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for port in (53, 53, 853):
                sock.sendto(b"?", ("127.0.0.1", port))
        assert sorted(table.counted("seen")) == [(("udp", 53), 2), (("udp", 853), 1)]
        assert table.counted("plain") == [], "its elements count nothing"
        with pytest.raises(SystemChangeError, match="tunproxy_test"):
            table.counted("nothing")
        table.close()

    isolated(check)
