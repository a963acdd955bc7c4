"""Octets by their hash; the store's tests have what comes of a killed writer, and of a full disk."""

import hashlib
import zlib
from pathlib import Path

import pytest

from tunproxy.control.generations import objects as objects_module
from tunproxy.control.generations.objects import Objects


def kept(objects: Objects, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    objects.put(digest, zlib.compress(data))
    return digest


def test_octets_are_found_by_their_hash(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    digest = kept(objects, b"some octets")
    assert objects.get(digest) == b"some octets"
    assert objects.get("0" * 64) is None
    assert [path for path, _ in objects.all()] == [objects.place(digest)]


@pytest.mark.parametrize("damage", [b"", b"no zlib", zlib.compress(b"others")])
def test_damaged_octets_count_as_lost(tmp_path: Path, damage: bytes) -> None:
    objects = Objects(tmp_path)
    digest = kept(objects, b"some octets")
    objects.place(digest).unlink()
    objects.place(digest).write_bytes(damage)
    assert objects.get(digest) is None


def test_more_than_a_file_may_have_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "MOST_OF_FILE", 100)
    objects = Objects(tmp_path)
    assert objects.get(kept(objects, bytes(100))) == bytes(100)
    assert objects.get(kept(objects, bytes(200))) is None


def test_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert list(Objects(tmp_path / "none").all()) == []
