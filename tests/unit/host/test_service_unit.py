"""The unit's text: the packaged one, for another program."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tunproxy.errors import ConfigError
from tunproxy.host.service_unit import ACCOUNTS, MARK, PACKAGED_PROGRAM, UNIT, packaged, quoted, unit_text

ROOT = Path(__file__).resolve().parents[3]


def commands(text: str) -> dict[str, str]:
    """Return the command lines in a unit, by their keys."""
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("Exec"))
    return dict(pairs)  # type: ignore[arg-type]


def test_packaged_files_are_those_for_packagers() -> None:
    for name in (UNIT, ACCOUNTS):
        assert packaged(name) == (ROOT / "packaging" / name).read_text()


def test_wheel_has_the_packaged_files_where_they_are_looked_for() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    for name in (UNIT, ACCOUNTS):
        assert f'"packaging/{name}" = "tunproxy/host/{name}"' in settings


def test_packaged_unit_calls_the_packaged_program() -> None:
    for key, line in commands(packaged(UNIT)).items():
        assert line.removeprefix("-").startswith(f"{PACKAGED_PROGRAM} "), key


def test_unit_for_another_program_differs_in_nothing_else() -> None:
    text = unit_text(["/srv/venv/bin/tunproxy"])
    assert text.startswith(MARK)
    assert text.removeprefix(MARK).replace("/srv/venv/bin/tunproxy", PACKAGED_PROGRAM) == packaged(UNIT)


def test_unit_has_the_words_of_a_program_and_the_options_of_up() -> None:
    options = ["--route", "198.51.100.0/24", "--config=/etc/my conf.toml", "--plugin", "/etc/a.py"]
    found = commands(unit_text(["/opt/my python", "-m", "tunproxy"], options))
    mine = '"/opt/my python" -m tunproxy'
    assert found["ExecStart"] == (
        f'{mine} up --route 198.51.100.0/24 "--config=/etc/my conf.toml" --plugin /etc/a.py'
    )
    assert found["ExecStartPre"] == f'{mine} check "--config=/etc/my conf.toml" --plugin /etc/a.py'
    assert found["ExecReload"] == f"{mine} reload --pid $MAINPID"
    assert found["ExecStopPost"] == f"-{mine} rescue --after-stop"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain/Word-1.0_x:y", "plain/Word-1.0_x:y"),
        ("--mark=0x7", "--mark=0x7"),
        ("two words", '"two words"'),
        ("", '""'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        (";", '";"'),
        ("-x", "-x"),
        ("ü", '"ü"'),
    ],
)
def test_word_is_quoted_so_that_systemd_makes_it_what_it_is(word: str, text: str) -> None:
    assert quoted(word) == text


@pytest.mark.parametrize("words", [["/bin/tun\nproxy"], ["/bin/x", "a\0"], ["tunproxy"]])
def test_words_that_systemd_cannot_be_told_are_an_error(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="cannot write the unit"):
        unit_text(words)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("program", [["/bin/true"], ["/bin/true", "a b", 'c"%$\\d', ";"]], ids=len)
def test_systemd_understands_the_unit(tmp_path: Path, program: list[str]) -> None:
    unit = tmp_path / UNIT
    unit.write_text(unit_text(program, ["--config", "/etc/a b%.toml"]))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if UNIT in line]
    assert (done.returncode, ours) == (0, []), done.stderr
