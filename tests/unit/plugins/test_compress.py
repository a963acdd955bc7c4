"""The compress plugin, through the hooks."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.codecs.streams import decoded, encoded, json_lines
from tests.unit.progressing import Shown
from tunproxy.errors import ConfigError
from tunproxy.testing import PluginRunner

PLUGIN = importlib.import_module("tunproxy_plugins.compress")


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    """A dictionary, by our command."""
    (tmp_path / "log.jsonl").write_bytes(json_lines(3000))
    path = tmp_path / "log.dict"
    found = compress("train", str(tmp_path / "log.jsonl"), "-o", str(path), "--size", "8192")
    assert found.exit_code == 0, found.output
    return path


def compress(*arguments: str) -> Result:
    with PluginRunner(PLUGIN) as plugin:
        app = plugin.commands()["compress"].app
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("zstd", {}),
        ("zstd", {"level": -7}),
        ("zstd", {"level": 19, "compress_secrets": True}),
        ("gzip", {}),
        ("gzip", {"level": 1}),
    ],
)
def test_codec_is_read_by_the_program_of_its_format(name: str, table: dict[str, object]) -> None:
    with PluginRunner(PLUGIN) as plugin:
        kind = plugin.codecs()[name]
        assert kind.compresses
        assert not kind.encrypts
        words = encoded(kind.build(table), [json_lines(200)])
        assert decoded(kind.build({}), words) == json_lines(200)
    program = subprocess.run([name, "-dc"], input=words, capture_output=True, check=True, timeout=60)
    assert program.stdout == json_lines(200)
    assert len(words) < len(json_lines(200)) / 3


def test_each_flow_has_a_codec_of_its_own() -> None:
    with PluginRunner(PLUGIN) as plugin:
        kind = plugin.codecs()["zstd"]
        assert kind.build({}) is not kind.build({})


@pytest.mark.parametrize(
    ("name", "table", "why"),
    [
        ("zstd", {"level": 20}, "zstd has no level 20 (-7 to 19)"),
        ("gzip", {"level": 0}, "gzip has no level 0 (1 to 9)"),
        ("gzip", {"dictionary": "x"}, "dictionary"),
        (
            "zstd",
            {"dictionary": "/nowhere/x.dict"},
            "cannot read dictionary '/nowhere/x.dict': no such file",
        ),
        ("zstd", {"dictionary": __file__}, "is no dictionary of zstd"),
    ],
)
def test_what_cannot_be_is_told(name: str, table: dict[str, object], why: str) -> None:
    with PluginRunner(PLUGIN) as plugin, pytest.raises(ConfigError) as raised:
        plugin.codecs()[name].build(table)
    assert why in str(raised.value)


def test_secrets_are_stored_unless_the_user_wants_otherwise() -> None:
    request = b"GET / HTTP/1.1\r\nCookie: id=0123456789\r\n\r\n" * 30
    with PluginRunner(PLUGIN) as plugin:
        for name in ("zstd", "gzip"):
            kind = plugin.codecs()[name]
            assert len(encoded(kind.build({}), [request])) > len(request)
            assert len(encoded(kind.build({"compress_secrets": True}), [request])) < len(request) / 5


def test_trained_dictionary_is_used(dictionary: Path) -> None:
    message = json_lines(1, 5)
    with PluginRunner(PLUGIN) as plugin:
        kind = plugin.codecs()["zstd"]
        table = {"dictionary": str(dictionary)}
        words = encoded(kind.build(table), [message])
        assert decoded(kind.build(table), words) == message
        assert len(words) < 0.7 * len(encoded(kind.build({}), [message]))
    program = subprocess.run(
        ["zstd", "-dc", "-D", str(dictionary)], input=words, capture_output=True, check=True, timeout=60
    )
    assert program.stdout == message


def test_command_says_what_it_has_made(tmp_path: Path) -> None:
    paths = []
    for number in range(100):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_bytes(json_lines(2, number))
    found = compress("train", *map(str, paths), "-o", str(tmp_path / "made"), "--size", "2048")
    said = re.fullmatch(
        r".*/made: dictionary (\d+), (\d+) octets, from 90 samples; "
        r"10 others shrink to (\d+\.\d)%, without it to (\d+\.\d)%\n",
        found.output,
    )
    assert said, found.output
    assert int(said[2]) == (tmp_path / "made").stat().st_size <= 2048
    assert float(said[3]) < float(said[4])


@pytest.mark.parametrize(
    ("content", "more", "why"),
    [
        (b"", [], "too little to learn from: 0 samples"),
        (b"too short", [], "too little to learn from: 1 samples"),
        (json_lines(2000), ["--size", "7"], "cannot have 7 octets"),
    ],
)
def test_command_says_why_it_cannot(tmp_path: Path, content: bytes, more: list[str], why: str) -> None:
    (tmp_path / "x").write_bytes(content)
    error = compress("train", str(tmp_path / "x"), "-o", str(tmp_path / "made"), *more).exception
    assert isinstance(error, ConfigError)
    assert why in str(error)
    assert not (tmp_path / "made").exists()


def test_command_says_which_file_it_cannot_read_or_write(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(json_lines(2000))
    for arguments, why in (
        ([str(tmp_path / "no"), "-o", str(tmp_path / "made")], "cannot read .*/no: no such file"),
        ([str(tmp_path / "x"), "-o", str(tmp_path)], "cannot write .*: is a directory"),
    ):
        error = compress("train", *arguments).exception
        assert isinstance(error, ConfigError)
        assert re.match(why, str(error))


def test_training_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    (tmp_path / "log.jsonl").write_bytes(json_lines(3000))
    with PluginRunner(PLUGIN) as plugin:
        app = plugin.commands()["compress"].app
    monkeypatch.setattr(
        importlib.import_module("tunproxy_plugins.compress.training"), "showing_progress", shown
    )
    arguments = ["train", str(tmp_path / "log.jsonl"), "-o", str(tmp_path / "x")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert [words.split()[0] for words in shown.words] == ["reading", "reading", "learning", "trying"]
