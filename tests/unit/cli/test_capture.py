"""The command ``tunproxy capture``."""

import errno
import io
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunproxy.cli.main import run
from tunproxy.control import client
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.control.packets import receiving
from tunproxy.errors import TunproxyError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class FakeReceiving:
    """Hands out blocks, and ends in the middle when it is asked to."""

    blocks_there: tuple[bytes, ...] = (b"head", b"packet", b"statistics")
    lost_there = 0
    is_killed = False
    signals: tuple[signal.Signals, ...] = ()
    made: "FakeReceiving"

    def __init__(self, path: Path, wish: Mapping[str, str]) -> None:
        type(self).made = self
        self.path, self.wish = path, dict(wish)
        self.packets, self.octets, self.lost, self.is_whole = 0, 0, 0, False
        self.is_ended = self.is_closed = False

    def blocks(self) -> Iterator[bytes]:
        for number, each in enumerate(self.blocks_there):
            yield each
            self.packets += number == 1
            self.octets += len(each)
            if number == 0:
                for which in self.signals:
                    os.kill(os.getpid(), which)
        self.lost, self.is_whole = self.lost_there, not self.is_killed

    def end(self) -> None:
        self.is_ended = True

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeReceiving]:
    made = type("Made", (FakeReceiving,), {})
    monkeypatch.setattr(receiving, "Receiving", made)
    monkeypatch.setattr(client, "choose", lambda tun, socket: Found(Path(socket or f"/run/{tun}"), ALIVE, 7))
    return made


def test_file_is_written_for_its_owner_alone(
    tmp_path: Path, fake: type[FakeReceiving], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.pcapng"
    options = ["--snaplen", "64", "-c", "5", "--duration", "1.5", "--size", "1K", "--tun", "tun0"]
    assert run(["capture", "host:shop.example", "!udp", "-o", str(file), *options]) == 0
    assert file.read_bytes() == b"headpacketstatistics"
    assert file.stat().st_mode & 0o777 == 0o600
    assert fake.made.path == Path("/run/tun0")
    assert fake.made.wish == {
        "filter": "host:shop.example !udp", "snaplen": "64", "count": "5", "seconds": "1.5", "size": "1024",
    }  # fmt: skip
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "tunproxy: capturing at tun0, host:shop.example !udp (Ctrl-C ends it)",
        f"tunproxy: 1 packet, 20 octets in {file}; none was lost",
    ]
    assert fake.made.is_closed


def test_older_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    file.write_bytes(bytes(1000))
    assert run(["capture", "-o", str(file), "--socket", "/x"]) == 0
    assert file.read_bytes() == b"headpacketstatistics"


def test_older_file_stays_where_nothing_can_be_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, wish: Mapping[str, str]) -> None:
        raise TunproxyError("there are too many")

    monkeypatch.setattr(receiving, "Receiving", refuse)
    file = tmp_path / "x.pcapng"
    file.write_bytes(b"older")
    assert run(["capture", "-o", str(file), "--tun", "tun0"]) == 2
    assert file.read_bytes() == b"older"
    other = tmp_path / "y.pcapng"
    assert run(["capture", "-o", str(other), "--tun", "tun0"]) == 2
    assert not other.exists(), "one that was not there is not left behind, empty"


class FullAfter13(io.FileIO):
    """A file on a disk that has room for 13 octets."""

    def write(self, data: "Buffer") -> int:
        room = 13 - self.tell()
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


def test_full_disk_leaves_whole_packets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunproxy.cli.capture.open", lambda fd, *_, **__: FullAfter13(fd, "w"), raising=False)
    file = tmp_path / "x.pcapng"
    assert run(["capture", "-o", str(file), "--tun", "tun0"]) == 2
    assert f"cannot write {file}: no space left on device" in capfd.readouterr().err
    assert file.read_bytes() == b"headpacket", "not a part of what came then"


def test_standard_output_gets_nothing_else(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["capture", "-o", "-", "--tun", "tun0"]) == 0
    said = capfdbinary.readouterr()
    assert said.out == b"headpacketstatistics"
    assert b"capturing at tun0, everything" in said.err
    assert b"1 packet, 20 octets in standard output" in said.err


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(
    which: signal.Signals, tmp_path: Path, fake: type[FakeReceiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "signals", (which,))
    before = signal.getsignal(which)
    assert run(["capture", "-o", str(tmp_path / "x"), "--tun", "tun0"]) == 0
    assert fake.made.is_ended
    assert (tmp_path / "x").read_bytes() == b"headpacketstatistics"
    assert signal.getsignal(which) == before


def test_second_signal_ends_us(
    tmp_path: Path, fake: type[FakeReceiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "signals", (signal.SIGINT, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    try:
        assert run(["capture", "-o", str(tmp_path / "x"), "--tun", "tun0"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert fake.made.is_closed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lost_there": 1234}, "; 1,234 packets were lost: they were not taken fast enough"),
        ({"is_killed": True}, "; tunproxy has ended"),
    ],
)
def test_summary_says_what_is_missing(
    change: dict[str, object],
    says: str,
    tmp_path: Path,
    fake: type[FakeReceiving],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(fake, name, value)
    assert run(["capture", "-o", str(tmp_path / "x"), "--tun", "tun0"]) == 0
    assert says in capsys.readouterr().err


def test_reader_that_goes_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    old = os.dup(1)
    writer = os.open(pipe, os.O_WRONLY)
    os.close(reader)
    try:
        os.dup2(writer, 1)
        assert run(["capture", "-o", "-", "--tun", "tun0"]) == 0
    finally:
        os.dup2(old, 1)
        os.close(old)
        os.close(writer)
    assert "its reader has gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say where to write: -o FILE.pcapng"),
        (["-o", "x", "--tun", "a", "--socket", "b"], "exclude each other"),
        (["-o", "x", "hots:example"], "no key 'hots'"),
        (["-o", "/no/such/folder/x", "--tun", "a"], "cannot write /no/such/folder/x: no such file"),
        (["-o", "/dev/full", "--tun", "a"], "cannot write /dev/full: no space left on device"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["capture", *arguments]) == 2
    *_, last = capfd.readouterr().err.splitlines()
    assert last.startswith("tunproxy: ")
    assert says in last
