"""What stays from one run to the next, for its owner's eyes only."""

import stat
from pathlib import Path

import pytest

from tunproxy.control.clash.state_files import StateFiles
from tunproxy.errors import SystemChangeError


def test_secret_is_generated_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    secret, path = StateFiles(folder).secret()
    assert len(secret.reveal()) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert StateFiles(folder).secret() == (secret, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("")
    assert StateFiles(folder).secret()[0] != secret
    assert StateFiles(tmp_path / "c").secret()[0] != secret


def test_secret_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SystemChangeError, match=r"cannot write .*/api-secret: .* \(give a secret in \[api\]\)"
    ):
        StateFiles(tmp_path / "file").secret()


def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    state = StateFiles(tmp_path)
    assert (state.choices(), state.dashboards()) == ({}, {})
    state.keep_choices({"work": "a"})
    state.keep_dashboards({"zashboard": {"dark": True}})
    assert StateFiles(tmp_path).choices() == {"work": "a"}
    assert StateFiles(tmp_path).dashboards() == {"zashboard": {"dark": True}}
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["choices.json", "dashboards.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
def test_broken_files_are_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text, encoding="latin-1")
    assert StateFiles(tmp_path).choices() == {}


def test_where_nothing_can_be_kept_all_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    state = StateFiles(tmp_path / "file")
    state.keep_choices({"a": "b"})
    assert state.choices() == {}
    assert "cannot keep" in caplog.text
    nowhere = StateFiles(None)
    nowhere.keep_dashboards({})
    assert nowhere.dashboards() == {}
    with pytest.raises(SystemChangeError):
        nowhere.secret()
