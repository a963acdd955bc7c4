"""The files of a configuration: as they were read, and as they are."""

import os
import stat
from pathlib import Path

import pytest

from tests.unit.control.policies import written
from tunproxy.control.config.sources import Kept, Sources, read_sources
from tunproxy.control.generations.contents import (
    CONFIG,
    OPTION,
    PLUGIN,
    RULE_SET,
    RULES,
    SECRET,
    config_of,
    contents_of,
    folder_plugins,
    read_disk,
)
from tunproxy.control.settings import PolicyOptions

TEXT = """rules-file = "home.rules"
[rule-sets.ads]
path = "ads.txt"
format = "text"
behavior = "domain"
[upstreams.work]
type = "http"
server = "192.0.2.1"
password = { file = "work.pw" }
tls = { ca-file = "ca.pem" }
[plugins]
folder = "plugins"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text("x = 1\n")
    (tmp_path / "work.pw").write_text("hunter22\n")
    (tmp_path / "work.pw").chmod(0o640)
    (tmp_path / "ca.pem").write_text("a certificate")
    return written(tmp_path, TEXT, home_rules="DOMAIN,a.example,REJECT\n", ads_txt="ads.example\n")


def read(path: Path, kept: Kept | None = None) -> Sources:
    return read_sources(PolicyOptions(config=str(path)), {}, kept)


def test_every_file_that_was_read_is_there(path: Path, tmp_path: Path) -> None:
    sources = read(path)
    found = contents_of(sources)
    assert {Path(name).name: (each.kind, each.data) for name, each in found.items()} == {
        "tunproxy.toml": (CONFIG, TEXT.encode()),
        "home.rules": (RULES, b"DOMAIN,a.example,REJECT\n"),
        "ads.txt": (RULE_SET, b"ads.example\n"),
        "work.pw": (SECRET, b"hunter22\n"),
        "ca.pem": (OPTION, b"a certificate"),
        "mine.py": (PLUGIN, b"x = 1\n"),
    }
    assert config_of(sources) == str(path)
    password = found[str(tmp_path / "work.pw")]
    assert (password.mode, password.uid) == (0o640, os.getuid())
    assert "hunter22" not in repr(found)
    assert folder_plugins(found, tmp_path / "plugins") == {str(tmp_path / "plugins" / "mine.py")}
    assert folder_plugins(found, None) == set()


def test_it_is_what_was_read_and_not_what_came_later(path: Path, tmp_path: Path) -> None:
    sources = read(path)
    for name in ("tunproxy.toml", "home.rules", "work.pw", "ads.txt", "ca.pem"):
        (tmp_path / name).write_text("other")
    assert {each.data for each in contents_of(sources).values()}.isdisjoint({b"other"})


def test_kept_files_stand_for_those_on_disk(path: Path, tmp_path: Path) -> None:
    sources = read(path)
    contents = contents_of(sources)
    files = {name: each.data or b"" for name, each in contents.items() if each.kind != PLUGIN}
    for each in tmp_path.iterdir():
        if each.is_file():
            each.unlink()
    again = read_sources(PolicyOptions(config=str(path)), {}, Kept(str(path), files, sources.plugin_files))
    assert contents_of(again).keys() == contents.keys()
    assert {each.digest for each in contents_of(again).values()} == {
        each.digest for each in contents.values()
    }
    assert again.config.upstreams == sources.config.upstreams


def test_without_a_configuration_there_is_none(tmp_path: Path) -> None:
    sources = read_sources(PolicyOptions(), {"HOME": str(tmp_path)}, Kept("", {}))
    assert (config_of(sources), contents_of(sources)) == ("", {})


def test_disk_is_read_as_it_is_where_the_configuration_is_broken(path: Path, tmp_path: Path) -> None:
    known = {name: each.kind for name, each in contents_of(read(path)).items()}
    path.write_text("[broken")
    (tmp_path / "home.rules").unlink()
    (tmp_path / "ads.txt").unlink()
    (tmp_path / "ads.txt").mkdir()
    disk = read_disk(PolicyOptions(config=str(path)), known, {})
    assert "not TOML" in disk.error
    assert disk.config == str(path)
    found = {Path(name).name: each for name, each in disk.contents.items()}
    assert found["tunproxy.toml"].data == b"[broken"
    assert "home.rules" not in found
    assert (found["ads.txt"].data, found["ads.txt"].digest) == (None, "")


def test_links_are_followed_and_remembered(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.rules"
    (tmp_path / "home.rules").rename(real)
    (tmp_path / "home.rules").symlink_to(real)
    found = contents_of(read(path))[str(tmp_path / "home.rules")]
    assert found.real == str(real)
    assert stat.S_IMODE(real.stat().st_mode) == found.mode
