"""Dictionaries: trained, written, read, refused."""

from pathlib import Path

import pytest

from tests.unit.codecs.streams import json_lines, noise
from tunproxy.codecs.dictionary import (
    MOST,
    SAMPLE,
    Dictionary,
    parted,
    read_dictionary,
    samples_of,
    share_left,
    train,
)
from tunproxy.errors import ConfigError

SAMPLES = [json_lines(2, seed) for seed in range(300)]


def test_trained_dictionary_helps_what_is_like_its_samples(tmp_path: Path) -> None:
    learnt, kept = parted(SAMPLES)
    made = train(learnt, 4096)
    assert len(made.data) <= 4096
    assert made.number > 0
    assert share_left(kept, made) < 0.6 * share_left(kept, None)
    path = tmp_path / "made"
    path.write_bytes(made.data)
    assert read_dictionary(str(path)).number == made.number


def test_same_samples_make_the_same_dictionary() -> None:
    assert train(SAMPLES, 2048).data == train(SAMPLES, 2048).data


def test_samples_are_parted_without_loss() -> None:
    learnt, kept = parted(SAMPLES)
    assert (len(learnt), len(kept)) == (270, 30)
    assert set(learnt) | set(kept) == set(SAMPLES)
    assert parted([b"one"]) == ([b"one"], [b"one"])
    assert parted([]) == ([], [])


@pytest.mark.parametrize(
    ("samples", "size", "why"),
    [
        ([], 4096, "too little to learn from: 0 samples (at least 8)"),
        ([b"x"] * 7, 4096, "7 samples"),
        ([b""] * 20, 4096, "cannot learn from these samples"),
        (SAMPLES, 255, "cannot have 255 octets"),
        (SAMPLES, MOST + 1, f"cannot have {MOST + 1} octets"),
    ],
)
def test_what_cannot_be_learnt_is_told(samples: list[bytes], size: int, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        train(samples, size)
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no dictionary of zstd (tunproxy compress train makes one)"),
        (b"raw content", "is no dictionary of zstd"),
        (b"\x37\xa4\x30\xec", "is no dictionary of zstd"),
        (b"\x37\xa4\x30\xec" + noise(2000), "is no dictionary of zstd"),
        (b"\x37\xa4\x30\xec" + bytes(MOST), "is too large for a dictionary"),
    ],
)
def test_file_that_is_no_dictionary_is_told_by_name(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "bad.dict"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as raised:
        read_dictionary(str(path))
    assert f"{path} {why}" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "why"), [("missing", "no such file"), ("", "is a directory"), ("a\0b", "null")]
)
def test_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot read the dictionary .*{why}"):
        read_dictionary(str(tmp_path / name) if name != "a\0b" else name)


def test_large_file_is_cut_behind_lines() -> None:
    lines = json_lines(400)
    endless = noise(3 * SAMPLE).replace(b"\n", b".")
    samples = samples_of([lines, b"", b"small", endless])
    assert b"".join(samples) == lines + b"small" + endless
    assert all(0 < len(sample) <= SAMPLE for sample in samples)
    of_lines = samples[: -(1 + 3)]
    assert len(of_lines) > 4
    assert all(sample.endswith(b"\n") for sample in of_lines)


def test_too_much_to_learn_from_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="too much to learn from: more than 128 MiB"):
        samples_of([bytes(1 << 27), b"x"])


def test_dictionary_has_its_own_number() -> None:
    first, second = train(SAMPLES[:150], 2048), train(SAMPLES[150:], 2048)
    assert first.number != second.number
    assert Dictionary(first.data, "first").number == first.number
