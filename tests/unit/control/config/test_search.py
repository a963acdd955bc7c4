"""Where the configuration is looked for."""

from pathlib import Path

import pytest

from tunproxy.control.config import search
from tunproxy.control.config.search import find_config, places


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
