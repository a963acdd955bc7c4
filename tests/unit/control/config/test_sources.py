"""Everything that a policy is made from is read, and goes whole to another process."""

import os
from pathlib import Path

import pytest

from tests.unit.control.policies import sources_of, written
from tunproxy.control.config import search
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.control.config.schema import Config
from tunproxy.control.config.sources import (
    NO_FILE,
    default_of,
    from_memory,
    into_memory,
    plugin_settings,
    read_sources,
)
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import ConfigError
from tunproxy.secret import Secret

SETS = '[rule-sets.ads]\npath = "ads.txt"\n'


def test_files_that_are_named_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path, 'rules-file = "home.rules"\n' + SETS, home_rules="MATCH,DIRECT\n", ads_txt="+.a\n"
    )
    found = sources_of(path)
    assert found.files == {
        str(tmp_path / "ads.txt"): b"+.a\n",
        str(tmp_path / "home.rules"): b"MATCH,DIRECT\n",
    }
    assert found.rules == str(tmp_path / "home.rules")
    assert set(found.paths) == {path, tmp_path / "ads.txt", tmp_path / "home.rules"}
    assert found.name == str(path)


def test_files_that_are_missing_are_problems_at_the_key(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules-file = "home.rules"\n' + SETS)
    with pytest.raises(ConfigProblems) as caught:
        sources_of(path)
    places = [(each.position.line, each.position.column) for each in caught.value.problems]
    assert places == [(1, 15), (3, 9)]
    assert "no such file or directory" in str(caught.value)


def test_problems_are_kept_for_who_builds_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules-file = "home.rules"\nx = 1\n' + SETS)
    found = read_sources(PolicyOptions(config=str(path)), {}, keeps_good=True)
    assert sorted(each.position.line for each in found.problems) == [1, 2, 4]
    assert found.missing == {"ads"}
    assert found.rules == ""
    assert tmp_path / "home.rules" in found.stamps


def test_problem_with_plugins_is_told_before_any_is_loaded(tmp_path: Path) -> None:
    path = written(tmp_path, "[plugins]\ndeny = 'log'\n")
    with pytest.raises(ConfigProblems, match="2:9: expected a list, got a string"):
        read_sources(PolicyOptions(config=str(path)), {}, keeps_good=True)


def test_missing_file_that_can_be_downloaded_is_told_how(tmp_path: Path) -> None:
    url = 'url = "https://x.example/ads"\n'
    with pytest.raises(ConfigProblems) as caught:
        sources_of(written(tmp_path, SETS + url))
    assert "no such file or directory (tunproxy rules update ads downloads it)" in str(caught.value)
    (tmp_path / "ads.txt").mkdir()
    with pytest.raises(ConfigProblems) as caught:
        sources_of(written(tmp_path, SETS + url))
    assert "rules update" not in str(caught.value)


def test_configuration_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read /.*/x\.toml: no such file or directory$"):
        sources_of(tmp_path / "x.toml")
    with pytest.raises(ConfigError, match=r"^cannot read /.*/x\.rules: no such file or directory$"):
        sources_of(written(tmp_path, ""), rules=str(tmp_path / "x.rules"))


def test_without_any_file_the_built_in_configuration_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SYSTEM", tmp_path)
    found = read_sources(PolicyOptions(), {})
    assert (found.config, found.name, found.paths) == (Config(), NO_FILE, ())
    assert default_of(found, "upstream") == "direct"


def test_upstream_of_the_command_line_reads_no_file_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SYSTEM", tmp_path)
    path = written(tmp_path, 'default = "DIRECT"\n')
    upstream = Secret("http://192.0.2.1:1")
    assert read_sources(PolicyOptions(), {}).name == str(path)
    found = read_sources(PolicyOptions(upstream=upstream), {})
    assert (found.name, default_of(found, "upstream")) == (NO_FILE, "upstream")
    told = read_sources(PolicyOptions(config=str(path), upstream=upstream), {})
    assert (told.name, default_of(told, "upstream")) == (str(path), "upstream")


def test_rules_of_the_command_line_take_the_place_of_others(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules-file = "a.rules"\n', a_rules="", b_rules="MATCH,DIRECT\n")
    found = sources_of(path, rules=str(tmp_path / "b.rules"))
    assert list(found.files) == [found.rules] == [str(tmp_path / "b.rules")]


def test_sources_go_through_memory(tmp_path: Path) -> None:
    path = written(tmp_path, SETS + "[upstreams.a]\ntype = 'http'\npassword = 'p'\n", ads_txt="+.a\n")
    found = sources_of(path)
    fd = into_memory(found)
    copy = from_memory(fd)
    assert (copy.config, copy.files, copy.paths) == (found.config, found.files, found.paths)
    assert copy.document.position_of(("rule-sets", "ads", "path")).line == 2
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_plugins_of_the_folder_and_of_the_command_line_are_read_and_watched(tmp_path: Path) -> None:
    folder = tmp_path / "tunproxy" / "plugins"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("a = 1")
    named = tmp_path / "named.py"
    named.write_text("b = 2")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    options = PolicyOptions(upstream=Secret("socks5://192.0.2.1"), plugins=(os.path.relpath(named),))
    found = read_sources(options, environment)
    assert [(each.path, each.data) for each in found.plugin_files] == [
        (folder / "a.py", b"a = 1"),
        (named, b"b = 2"),
    ]
    assert {folder / "a.py", named} <= set(found.paths)
    assert found.config.plugins.folder == folder
    assert found.config.plugins == plugin_settings(options, environment)
    again = from_memory(into_memory(found))
    assert again.plugin_files == found.plugin_files


def test_plugin_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot load plugin '.*none.py': no such file"):
        read_sources(
            PolicyOptions(config=str(written(tmp_path, "")), plugins=(str(tmp_path / "none.py"),)), {}
        )


def test_folder_that_the_configuration_names_comes_first(tmp_path: Path) -> None:
    found = sources_of(written(tmp_path, '[plugins]\nfolder = "mine"\n'))
    assert found.config.plugins.folder == tmp_path / "mine"
    assert sources_of(written(tmp_path, "")).config.plugins.folder is None, "no home, no folder"


def test_files_that_options_of_upstreams_name_are_read_and_watched(tmp_path: Path) -> None:
    text = (
        '[upstreams.a]\ntype = "https"\nserver = "a"\nca_file = "ca.pem"\n'
        '[upstreams.b]\ntype = "x"\n'
        'tls = { key-file = "key.pem", ca-file = "none.pem", other = "other.pem" }\n'
    )
    found = sources_of(written(tmp_path, text, ca_pem="one", key_pem="two", other_pem="three"))
    assert found.files == {str(tmp_path / "ca.pem"): b"one", str(tmp_path / "key.pem"): b"two"}
    assert {tmp_path / name for name in ("ca.pem", "key.pem", "none.pem")} <= set(found.paths)
    assert found.stamps[tmp_path / "none.pem"] is None
    assert found.config.upstreams["b"].options["tls"]["key-file"] == str(tmp_path / "key.pem")  # type: ignore[index]


def test_files_that_the_upstream_of_the_command_line_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("one")
    url = f"https://a?ca_file={tmp_path}/ca.pem&key_file={tmp_path}/none.pem"
    found = read_sources(PolicyOptions(upstream=Secret(url)), {})
    assert found.files == {f"{tmp_path}/ca.pem": b"one"}
    assert {tmp_path / "ca.pem", tmp_path / "none.pem"} <= set(found.paths)
