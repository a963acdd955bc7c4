"""``codec`` in the table of an upstream."""

import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.control.config.building import Parts, build_parts
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.errors import ConfigError
from tunproxy.plugin.api import Codec, CodecType, hookimpl
from tunproxy.upstream.coded import CodedUpstream


@dataclass(frozen=True)
class Options:
    key: int = 1


class Xor(Codec):
    def __init__(self, key: int) -> None:
        if key > 255:
            raise ConfigError("key is no octet")
        self.key = key

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(each ^ self.key for each in data)

    def decode(self, data: bytes) -> bytes:
        return self.encode(data)


@hookimpl
def contribute_codecs() -> list[CodecType]:
    return [CodecType("xor", Options, lambda options: Xor(options.key))]


def built(folder: Path, codec: str) -> Parts:
    text = f'[upstreams.work]\ntype = "socks5"\nserver = "192.0.2.1"\ncodec = {codec}\n'
    sources = sources_of(written(folder, text))
    plugins = plugins_for(sources)
    assert plugins.register(types.SimpleNamespace(contribute_codecs=contribute_codecs), "xor")
    return build_parts(sources, plugins)


@pytest.mark.parametrize(
    ("codec", "key"), [('"xor"', 1), ('{ type = "xor", key = 7 }', 7), ('{ type = "xor" }', 1)]
)
def test_codec_lies_around_an_upstream(tmp_path: Path, codec: str, key: int) -> None:
    work = built(tmp_path, codec).upstreams["work"]
    assert isinstance(work, CodedUpstream)
    first, second = work._make(), work._make()
    assert isinstance(first, Xor)
    assert first.key == key
    assert first is not second


@pytest.mark.parametrize(
    ("codec", "problem"),
    [
        ('"xro"', "4:10: there is no codec 'xro' (did you mean 'xor'?)"),
        ("7", "4:9: expected the name of a codec"),
        ("{ key = 7 }", "4:9: expected the name of a codec"),
        ('{ type = "xor", kye = 7 }', "unknown key 'kye' (did you mean 'key'?)"),
        ('{ type = "xor", key = "x" }', "expected a whole number"),
        ('{ type = "xor", key = 256 }', "4:9: key is no octet"),
    ],
)
def test_codec_that_cannot_be_is_told_at_its_place(tmp_path: Path, codec: str, problem: str) -> None:
    with pytest.raises(ConfigProblems) as raised:
        built(tmp_path, codec)
    assert len(raised.value.problems) == 1
    assert problem in str(raised.value)
