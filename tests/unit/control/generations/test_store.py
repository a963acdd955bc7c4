"""The folder of generations: whole or not at all, whatever happens meanwhile."""

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.control.generations.kept import CONFIG_PATH, blank, contents, keep, store_in
from tunproxy.control.generations import store as store_module
from tunproxy.control.generations.contents import CONFIG, RULE_SET, FileState
from tunproxy.control.generations.objects import NEW
from tunproxy.control.generations.record import FAILED
from tunproxy.control.generations.store import Store, StoreError
from tunproxy.host import libc


def test_what_is_kept_is_found_with_its_octets(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = keep(store, contents(b"one", home=b"rules\xff\0"), by="SIGHUP", choices={"a": "b"})
    found = store_in(tmp_path).find()
    assert [*found.generations] == [made]
    assert (made.number, made.by, found.broken) == (1, "SIGHUP", [])
    assert [store.read(each) for each in made.files] == [b"one", b"rules\xff\0"]
    assert keep(store, b"two").number == 2
    assert found.get(1) == made
    with pytest.raises(StoreError, match="there is no generation 7"):
        found.get(7)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    keep(store, contents(b"secret", home=b"x"))
    modes = {
        str(path.relative_to(store.folder)): stat.S_IMODE(path.stat().st_mode)
        for path in store.folder.rglob("*")
    }
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes
    assert sorted(mode for name, mode in modes.items() if name.startswith("objects/") and len(name) > 20) == [
        0o400,
        0o400,
    ]
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_octets_are_kept_once(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for _ in range(3):
        keep(store, contents(b"same", a=b"same", b=b"same"))
    assert sum(path.is_file() for path in (store.folder / "objects").rglob("*")) == 1


def test_document_is_changed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    keep(store, b"x")
    store.update(1, {"state": FAILED, "why": "it did not do"})
    assert [(each.state, each.why) for each in store.find().generations] == [(FAILED, "it did not do")]
    store.update(9, {"state": FAILED})  # which is not there
    assert len(store.find().generations) == 1


def test_number_and_size_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST", 5)
    store = store_in(tmp_path)
    for number in range(12):
        keep(store, b"%d" % number)
    assert [each.number for each in store.find().generations] == [8, 9, 10, 11, 12]
    assert sum(path.is_file() for path in (store.folder / "objects").rglob("*")) == 5
    monkeypatch.setattr(store_module, "MOST_OCTETS", 50_000)
    for _ in range(3):
        keep(store, os.urandom(20_000))
    assert [each.number for each in store.find().generations][-2:] == [14, 15]
    assert sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()) < 55_000


def test_file_that_is_too_large_is_known_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_OF_FILE", 1000)
    store = store_in(tmp_path)
    large = FileState(RULE_SET, bytes(1001))
    made = keep(store, {**contents(b"x"), "/ads.txt": large})
    file = next(each for each in made.files if each.path == "/ads.txt")
    assert (file.is_kept, file.digest, file.size) == (False, large.digest, 1001)
    with pytest.raises(StoreError, match="too large to be kept"):
        store.read(file)


def test_sets_give_way_to_what_people_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_OF_ONE", 2000)
    made = keep(
        store_in(tmp_path),
        {"/a": FileState(RULE_SET, os.urandom(1900)), "/z": FileState(CONFIG, os.urandom(1500))},
    )
    assert {each.path: each.is_kept for each in made.files} == {"/a": False, "/z": True}


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"number": 1}', b"\xff\xfe", b"[" * 100_000])
def test_damaged_document_is_left_out_and_its_octets_stay(tmp_path: Path, damage: bytes) -> None:
    store = store_in(tmp_path)
    keep(store, b"one")
    keep(store, b"two")
    (store.folder / "1.json").write_bytes(damage)
    found = store.find()
    assert ([each.number for each in found.generations], list(found.broken)) == ([2], [1])
    with pytest.raises(StoreError, match="generation 1 is damaged"):
        found.get(1)
    assert keep(store, b"three").number == 3
    assert sum(path.is_file() for path in (store.folder / "objects").rglob("*")) == 3, "nobody knows whose"


def test_damaged_octets_are_found_out_and_written_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = keep(store, b"some text")
    (path,) = (each for each in (store.folder / "objects").rglob("*") if each.is_file())
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged or gone"):
        store.read(made.files[0])
    assert not store.has(made.files[0].digest)
    keep(store, b"some text")
    assert store.read(made.files[0]) == b"some text"


def test_octets_that_unpack_to_too_much_are_not_unpacked(tmp_path: Path) -> None:
    import zlib

    store = store_in(tmp_path)
    made = keep(store, b"x")
    (path,) = (each for each in (store.folder / "objects").rglob("*") if each.is_file())
    path.chmod(0o600)
    path.write_bytes(zlib.compress(bytes(30 << 20), 1))
    with pytest.raises(StoreError, match="damaged"):
        store.read(made.files[0])


def test_file_that_cannot_be_read_is_not_kept_and_nothing_else_of_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with pytest.raises(StoreError, match="cannot keep /y: it cannot be read"):
        keep(store, {"/x": FileState(CONFIG, b"1"), "/y": FileState(RULE_SET, None)})
    assert store.find().generations == []
    assert not [path for path in (store.folder / "objects").rglob("*") if path.is_file()]


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "generations").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write into .*: (not a directory|file exists)"):
        keep(store_in(tmp_path), b"x")
    assert store_in(tmp_path).find().generations == []


@needs_namespaces
def test_full_disk_loses_nothing_and_recovers(tmp_path: Path) -> None:
    def check() -> None:
        libc.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=64k")
        store = store_in(tmp_path)
        first = keep(store, b"one")
        kept, told = 1, ""
        for _ in range(30):
            try:
                keep(store, os.urandom(9000))
                kept += 1
            except StoreError as error:
                told = str(error)
        assert "no space left on device" in told
        found = store.find()
        assert (len(found.generations), found.broken) == (kept, [])
        assert store.read(first.files[0]) == b"one"
        assert all(store.read(each.files[0]) for each in found.generations)
        assert not [path for path in store.folder.rglob("*") if path.name.startswith(NEW)]
        for number in range(2, kept + 1):
            (store.folder / f"{number}.json").unlink()
        with_room = keep(store, b"small")  # once there is room again, others' octets go as well
        assert store.read(with_room.files[0]) == b"small"

    isolated(check)


def _keep_on(folder: Path) -> None:
    number = 0
    while True:
        keep(Store(folder), contents(os.urandom(30_000), home=b"%d" % number))
        number += 1


def test_killed_while_it_writes_leaves_whole_generations(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for _ in range(8):
        writer = multiprocessing.get_context("fork").Process(target=_keep_on, args=(store.folder,))
        writer.start()
        before = len(store.find().generations)
        until = time.monotonic() + 20
        while len(store.find().generations) < before + 2 and time.monotonic() < until:
            time.sleep(0.003)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = store.find()
        assert found.broken == []
        assert all(store.read(file) for each in found.generations for file in each.files)
    keep(store, b"last")
    assert not [path for path in store.folder.rglob("*") if path.name.startswith(NEW)]


def test_two_who_write_at_once_have_numbers_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 60)  # a slow disk has one of them wait for all others
    store = store_in(tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_keep_some, args=(store.folder, each)) for each in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(90)
        assert writer.exitcode == 0
    found = store.find()
    assert [each.number for each in found.generations] == list(range(1, 31))
    assert len({store.read(each.files[0]) for each in found.generations}) == 30


def _keep_some(folder: Path, who: int) -> None:
    for number in range(10):
        keep(Store(folder), b"%d %d" % (who, number))


def test_somebody_who_holds_the_lock_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.05)
    store = store_in(tmp_path)
    keep(store, b"x")
    with open(store.folder / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="somebody has written there for"):
            keep(store, b"y")
    assert keep(store, b"y").number == 2


def test_what_lies_about_is_nobodys(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = keep(store, b"x")
    for name in ("x.json", "-1.json", "01.json", "2.json.bak", ".new-1-3.json"):
        (store.folder / name).write_text("{}")
    assert [*store.find().generations] == [made]
    assert store.add(blank(), contents(b"y")).number == 2
    assert CONFIG_PATH in {each.path for each in made.files}
