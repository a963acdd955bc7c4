"""Where the configuration is looked for."""

from pathlib import Path

import pytest

from tunproxy.control.config import search
from tunproxy.control.config.search import find_config, passed_over, places


def test_own_configuration_comes_before_the_system_s() -> None:
    system = Path("/etc/tunproxy/tunproxy.toml")
    assert places({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == [Path("/x/tunproxy/tunproxy.toml"), system]
    assert places({"XDG_CONFIG_HOME": "relative", "HOME": "/h"})[0] == Path(
        "/h/.config/tunproxy/tunproxy.toml"
    )
    assert places({}) == [system]


def test_first_that_is_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SYSTEM", tmp_path / "etc")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "own")}
    assert find_config(environment) is None
    for folder in ("etc", "own/tunproxy"):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "tunproxy.toml"
        path.touch()
        assert find_config(environment) == path


def test_configuration_of_whoever_called_sudo_is_passed_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def home_of(uid: int) -> str:
        return {1000: str(tmp_path / "joe"), 1001: "/nonexistent"}[uid]

    monkeypatch.setattr(search, "SYSTEM", tmp_path / "etc")
    root = {"HOME": str(tmp_path / "root"), "SUDO_UID": "1000"}
    assert passed_over(root, home_of) == ""
    own = tmp_path / "joe/.config/tunproxy/tunproxy.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert passed_over(root, home_of).startswith(
        f"{own} is not read, as this runs as another user (--config "
    )
    for told in ("", "1001", "1002", "joe", "9" * 40):
        assert passed_over({**root, "SUDO_UID": told}, home_of) == ""
    assert passed_over({"HOME": str(tmp_path / "joe"), "SUDO_UID": "1000"}, home_of) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/tunproxy.toml").touch()
    assert passed_over(root, home_of) == ""
