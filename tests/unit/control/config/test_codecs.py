"""``codec`` in the table of an upstream."""

import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.codecs.streams import json_lines
from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.codecs.dictionary import train
from tunproxy.control.config.building import Parts, build_parts
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import OPEN, FlowInfo
from tunproxy.plugin.api import Codec, CodecType, Secret, hookimpl
from tunproxy.upstream.coded_proxy import CodedProxy


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


class Add(Xor):
    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(each + self.key & 255 for each in data)

    def decode(self, data: bytes) -> bytes:
        return bytes(each - self.key & 255 for each in data)


@hookimpl
def contribute_codecs() -> list[CodecType]:
    return [
        CodecType("xor", Options, lambda options: Xor(options.key)),
        CodecType("seal", Options, lambda options: Add(options.key), encrypts=True),
        CodecType("pack", Options, lambda options: Xor(options.key), compresses=True),
    ]


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
    assert isinstance(work, CodedProxy)
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
        ("[]", "4:9: expected at least one codec"),
        ('["xor", "sael"]', "4:18: there is no codec 'sael' (did you mean 'seal'?)"),
        ('["xor", ["seal"]]', "4:17: expected the name of a codec"),
        ('["seal", "xor", "pack"]', "'pack' would compress what 'seal' has encrypted (put 'pack' in front"),
    ],
)
def test_codec_that_cannot_be_is_told_at_its_place(tmp_path: Path, codec: str, problem: str) -> None:
    with pytest.raises(ConfigProblems) as raised:
        built(tmp_path, codec)
    assert len(raised.value.problems) == 1
    assert problem in str(raised.value)


def test_codecs_of_a_list_lie_in_each_other_the_first_nearest_to_the_clear_stream(tmp_path: Path) -> None:
    work = built(tmp_path, '["pack", { type = "seal", key = 7 }]').upstreams["work"]
    assert isinstance(work, CodedProxy)
    codec = work._make()
    assert codec.encode(b"\x10\x11") == bytes([(0x10 ^ 1) + 7, (0x11 ^ 1) + 7])
    assert codec.decode(codec.encode(b"text")) == b"text"
    assert codec is not work._make()


def test_what_compresses_lies_not_around_a_proxy_with_tls(tmp_path: Path) -> None:
    text = '[upstreams.work]\ntype = "https"\nserver = "192.0.2.1"\ncodec = %s\n'
    for codec in ('"pack"', '["pack", "seal"]'):
        sources = sources_of(written(tmp_path, text % codec))
        plugins = plugins_for(sources)
        plugins.register(types.SimpleNamespace(contribute_codecs=contribute_codecs), "xor")
        with pytest.raises(ConfigProblems, match="would compress what TLS has encrypted"):
            build_parts(sources, plugins)


def test_what_compresses_lies_not_around_shadowsocks(tmp_path: Path) -> None:
    text = '[upstreams.work]\ntype = "shadowsocks"\nserver = "192.0.2.1"\nmethod = "aes-128-gcm"\n'
    sources = sources_of(written(tmp_path, text + 'password = "x"\ncodec = "pack"\n'))
    plugins = plugins_for(sources)
    plugins.register(types.SimpleNamespace(contribute_codecs=contribute_codecs), "xor")
    with pytest.raises(ConfigProblems, match="would compress what Shadowsocks has encrypted"):
        build_parts(sources, plugins)


@dataclass(frozen=True)
class LockOptions:
    key: Secret


LISTED = """
[upstreams.work]
type = "socks5"
server = "192.0.2.1"
codec = [{ type = "zstd", dictionary = "%s" }, { type = "lock", key = { file = "key" } }]
"""


def test_files_and_secrets_in_a_list_are_found(tmp_path: Path) -> None:
    found: list[str] = []

    def lock(options: LockOptions) -> Codec:
        found.append(options.key.reveal())
        return Xor(1)

    def listed(name: str) -> Parts:
        sources = sources_of(written(tmp_path, LISTED % name))
        plugins = plugins_for(sources)
        lock_type = CodecType("lock", LockOptions, lock, encrypts=True)
        plugins.register(types.SimpleNamespace(contribute_codecs=hookimpl(lambda: [lock_type])), "lock")
        return build_parts(sources, plugins)

    (tmp_path / "key").write_text("swordfish\n")
    (tmp_path / "log.dict").write_bytes(train([json_lines(3, seed) for seed in range(100)], 2048).data)
    listed("log.dict")
    assert found == ["swordfish"]
    (tmp_path / "bad.dict").write_bytes(b"none")
    with pytest.raises(ConfigProblems, match=r"5:41: .*bad.dict is no dictionary of zstd"):
        listed("bad.dict")


def test_proxies_with_a_codec_are_hops_of_a_chain(tmp_path: Path) -> None:
    text = "".join(
        f'[upstreams.{name}]\ntype = "socks5"\nserver = "192.0.2.{at}"\n{more}\n'
        for at, (name, more) in enumerate([("a", 'codec = "xor"'), ("b", "tls = true"), ("c", "")], 1)
    )
    text += '[groups.row]\ntype = "relay"\nmembers = ["a", "b", "c"]\n'
    sources = sources_of(written(tmp_path, text))
    plugins = plugins_for(sources)
    assert plugins.register(types.SimpleNamespace(contribute_codecs=contribute_codecs), "xor")
    row = build_parts(sources, plugins).upstreams["row"]
    verdict = row.verdict_for(FlowInfo("tcp", bytes([10, 0, 0, 2]), 1, bytes([192, 0, 2, 9]), 80))
    assert (verdict.kind, verdict.chain) == (OPEN, "row → a → b → c")
