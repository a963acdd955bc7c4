"""Dictionaries: what Zstandard knows of a kind of data before the first octet of a flow.

A short message then shrinks as if much of its kind had gone before. Both ends need the same one; its number
stands in the stream and in what the ends offer each other. This module, alone here, reads files.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Final

from tunproxy.codecs.library import ZstdCompressor, ZstdDecompressor, ZstdDict, ZstdError, train_dict
from tunproxy.errors import ConfigError, OptionError

# our choices
LEVEL: Final = 1  # of compression, where nobody says otherwise: of JSON, 3 makes no less, in thrice the time
MOST: Final = 1 << 20  # octets of a dictionary
USUAL: Final = 1 << 16
SAMPLE: Final = 1 << 11  # octets: what a dictionary is for is the beginning of a flow
LEAST_SAMPLES: Final = 8
MOST_TRAINED: Final = 1 << 27  # octets of samples

_MAGIC: Final = b"\x37\xa4\x30\xec"  # RFC 8878 §5


class Dictionary:
    """A dictionary that was trained. Raises OptionError where data is none; name is for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        if not data.startswith(_MAGIC):
            why = f"{name} is no dictionary of zstd (tunproxy compress train makes one)"
            raise OptionError(why, "dictionary")
        if len(data) > MOST:
            why = f"{name} is too large for a dictionary: {len(data)} octets (at most {MOST})"
            raise OptionError(why, "dictionary")
        try:
            self.zstd: Final = ZstdDict(data)
            ZstdCompressor(level=LEVEL, zstd_dict=self.zstd.as_digested_dict)  # reads more than the number
            ZstdDecompressor(zstd_dict=self.zstd)
        except (ValueError, ZstdError) as error:
            raise OptionError(f"{name} is no dictionary of zstd: {error}", "dictionary") from error
        self.number: Final = self.zstd.dict_id
        self.data: Final = data


def read_dictionary(path: str) -> Dictionary:
    """Return the dictionary in a file; raises ConfigError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST + 1)
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        raise ConfigError(f"cannot read the dictionary {path}: {why}") from error
    return Dictionary(data, path)


def train(samples: Sequence[bytes], size: int = USUAL) -> Dictionary:
    """Return a dictionary of up to size octets for data like samples; raises ConfigError for too few.

    The same samples, in the same order, make the same dictionary.
    """
    if not 256 <= size <= MOST:
        raise ConfigError(f"a dictionary cannot have {size} octets (256 to {MOST})")
    if len(samples) < LEAST_SAMPLES:
        raise ConfigError(f"too little to learn from: {len(samples)} samples (at least {LEAST_SAMPLES})")
    try:
        made = train_dict(samples, size)
    except (ValueError, ZstdError) as error:
        raise ConfigError(f"cannot learn from these samples: {error} (give more of them)") from error
    return Dictionary(made.dict_content, "what was trained")


def parted(samples: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part samples into those to learn from, and one in ten to try the dictionary with, or the last."""
    kept = list(samples[9::10]) or list(samples[-1:])
    learnt = [sample for at, sample in enumerate(samples) if at % 10 != 9]
    return learnt, kept


def share_left(samples: Sequence[bytes], dictionary: Dictionary | None) -> float:
    """Return what part of samples is left when each is compressed by itself."""
    known = None if dictionary is None else dictionary.zstd.as_digested_dict
    compressor = ZstdCompressor(level=LEVEL, zstd_dict=known)
    given = sum(len(compressor.compress(sample, ZstdCompressor.FLUSH_FRAME)) for sample in samples)
    return given / max(1, sum(map(len, samples)))


def samples_of(contents: Iterable[bytes]) -> list[bytes]:
    """Cut what files hold into samples: a small file is one, a large one many, cut behind a line.

    Raises ConfigError for more than MOST_TRAINED octets.
    """
    samples: list[bytes] = []
    total = 0
    for content in contents:
        total += len(content)
        if total > MOST_TRAINED:
            raise ConfigError(f"too much to learn from: more than {MOST_TRAINED >> 20} MiB (give less)")
        at = 0
        while at < len(content):
            end = min(at + SAMPLE, len(content))
            if end < len(content):
                line_end = content.rfind(b"\n", at, end)
                end = line_end + 1 if line_end >= at else end
            samples.append(content[at:end])
            at = end
    return samples
