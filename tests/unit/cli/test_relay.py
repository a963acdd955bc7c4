"""``tunproxy relay``: its options, and what it says about them."""

import io
from pathlib import Path

import pytest

from tests.unit.upstream.certificates import make
from tunproxy.cli.main import run
from tunproxy.logs.levels import USUAL_OF_RELAYS
from tunproxy.relay.passwords import PasswordHash


def test_check_says_whether_it_can_be_used(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["relay", "--check"]) == 0
    path = tmp_path / "relay.toml"
    path.write_text('listen = ["127.0.0.1:1"]\n[users.joe]\npassword = "fish"\n')
    assert run(["relay", "--config", str(path), "--check", "--listen", "0.0.0.0:1"]) == 0
    assert capfd.readouterr().out == "this can be used\n" * 2
    path.write_text("lissen = 1\n")
    assert run(["relay", "--config", str(path), "--check"]) == 2
    assert f"{path}:1:1: unknown key 'lissen' (did you mean 'listen'?)" in capfd.readouterr().err


def test_check_warns_of_a_certificate_that_is_too_old(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made, path = make("relay.test", days=-1), tmp_path / "relay.pem"
    path.write_bytes(made.pem + made.key_pem())
    assert run(["relay", "--check", "--certificate", str(path)]) == 0
    said = capfd.readouterr()
    assert said.out == "this can be used\n"
    assert said.err.startswith(f"tunproxy: warning: certificate {path}: CN=relay.test expired on ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "0.0.0.0:8080"], "0.0.0.0:8080 would serve anybody who can reach it"),
        (["--listen", "x"], "'x' is nowhere to listen"),
        (["--key", "x"], "--key needs --certificate"),
        (["--certificate", "/nowhere.pem"], "cannot use the certificate in '/nowhere.pem'"),
        (["--workers", "-1"], "-1 is not possible"),
        (["--allow", "10.0.0.0/33"], "no network, address or name"),
        (["--config", "/nowhere/relay.toml"], "cannot read /nowhere/relay.toml"),
    ],
)
def test_what_cannot_be_is_one_line(
    capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(["relay", "--check", *options]) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("tunproxy: ")


def test_help_says_which_level_is_usual_for_a_relay(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["relay", "--help"]) == run(["exec", "--help"]) == 0
    relay, _, others = capfd.readouterr().out.partition("Usage: tunproxy exec")
    assert USUAL_OF_RELAYS == "info"
    assert "[default: (info)]" in " ".join(relay.split())
    assert "[default: (notice)]" in " ".join(others.split())


def test_anonymous_is_said_in_so_many_words() -> None:
    assert run(["relay", "--check", "--listen", "0.0.0.0:8080", "--anonymous"]) == 0


def test_hash_is_that_of_the_first_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("fish\nnoise\n"))
    assert run(["relay", "--hash-password"]) == 0
    assert PasswordHash(capfd.readouterr().out.strip()).matches("fish")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["relay", "--hash-password"]) == 2
    assert "no password was given" in capfd.readouterr().err
