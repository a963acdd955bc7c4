"""The journal's own protocol, read here as its description has it (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.logs.records import failure, record
from tunproxy.logs.about import about
from tunproxy.logs.console import TOLD
from tunproxy.logs.journal import JournalHandler, is_stderr
from tunproxy.logs.levels import NOTICE


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(10)
        yield sock


def entry(datagram: bytes) -> dict[str, str]:
    """Return the fields of an entry."""
    found: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if not separator:
            length = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + length], datagram[8 + length :]
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


def test_entry_has_words_priority_place_and_fields(journal: socket.socket, tmp_path: Path) -> None:
    handler = JournalHandler({"worker": "1"}, tmp_path / "socket")
    handler.handle(record("%s is slow", "work", **about(upstream="work", flow="tcp a -> b", rule=3)))
    assert entry(journal.recv(65536)) == {
        "MESSAGE": "work is slow",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "tunproxy",
        "SYSLOG_FACILITY": "3",
        "CODE_FILE": "/lib/proxy.py",
        "CODE_LINE": "17",
        "CODE_FUNC": "dial",
        "LOGGER": "tunproxy.upstream.proxy",
        "WORKER": "1",
        "UPSTREAM": "work",
        "FLOW": "tcp a -> b",
        "RULE": "3",
    }


def test_notice_has_no_name_of_ours_before_it(journal: socket.socket, tmp_path: Path) -> None:
    JournalHandler({}, tmp_path / "socket").handle(record("up", name=TOLD, level=NOTICE))
    found = entry(journal.recv(65536))
    assert (found["MESSAGE"], found["PRIORITY"]) == ("up", "5")


def test_no_value_can_add_a_field(journal: socket.socket, tmp_path: Path) -> None:
    JournalHandler({}, tmp_path / "socket").handle(record("a\nPRIORITY=0\n", **about(upstream="b\n_PID=1")))
    found = entry(journal.recv(65536))
    assert (found["MESSAGE"], found["PRIORITY"], found["UPSTREAM"]) == ("a\nPRIORITY=0\n", "4", "b\n_PID=1")


def test_traceback_is_part_of_the_message(journal: socket.socket, tmp_path: Path) -> None:
    JournalHandler({}, tmp_path / "socket").handle(record("bad", exc_info=failure(), level=logging.ERROR))
    found = entry(journal.recv(65536))
    assert found["MESSAGE"].startswith("bad\nTraceback")
    assert found["MESSAGE"].endswith("two")


def test_long_entry_comes_in_a_file(journal: socket.socket, tmp_path: Path) -> None:
    words = "x" * (1 << 20)
    JournalHandler({}, tmp_path / "socket").handle(record(words))
    _, (fd,), _, _ = socket.recv_fds(journal, 100, 1)
    with open(fd, "rb") as file:
        file.seek(0)
        assert entry(file.read())["MESSAGE"] == words


def test_journal_that_was_started_anew_is_found(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(str(path))
        handler = JournalHandler({}, path)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(path))
        second.settimeout(10)
        handler.handle(record("again"))
        assert entry(second.recv(65536))["MESSAGE"] == "again"


def test_without_a_journal_it_is_standard_error(
    journal: socket.socket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler({}, tmp_path / "socket")
    (tmp_path / "socket").unlink()
    handler.handle(record("alone", name=TOLD, level=logging.ERROR))
    assert capfd.readouterr().err == "<3>tunproxy: alone\n"
    with pytest.raises(OSError, match="there is no journal"):
        JournalHandler({}, tmp_path / "socket")


def test_forked_process_opens_its_own(journal: socket.socket, tmp_path: Path) -> None:
    handler = JournalHandler({}, tmp_path / "socket")
    old = handler._transport.socket
    with open(os.devnull) as nothing:  # what is left to a process that has let go of its parent's descriptors
        os.dup2(nothing.fileno(), old.fileno())
    handler.reopen()
    handler.handle(record("mine"))
    assert entry(journal.recv(65536))["MESSAGE"] == "mine"


def test_standard_error_is_the_journal_where_systemd_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    ours = os.fstat(2)
    assert is_stderr({"JOURNAL_STREAM": f"{ours.st_dev}:{ours.st_ino}"})
    for other in ("", "1", f"{ours.st_dev}:{ours.st_ino + 1}", ":", "a:b"):
        assert not is_stderr({"JOURNAL_STREAM": other})
    assert not is_stderr({})
