"""The TCP port: where it may be, and what its user is told."""

import socket
from pathlib import Path

import pytest

from tunproxy.control.clash.listening import listen, listen_or_tell, place_of, problem_of
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.config.schema import ApiConfig
from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.secret import Secret


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_places_on_loopback_are_taken() -> None:
    assert place_of("127.0.0.1:9090") == ("127.0.0.1", 9090)
    assert place_of("[::1]:1") == ("::1", 1)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("9090", "is no address with a port"),
        ("localhost:9090", "is no address with a port"),
        ("0.0.0.0:9090", "0.0.0.0 is not on loopback"),
        ("192.0.2.1:9090", "is not on loopback, and there is no TLS"),
        ("[::]:9090", ":: is not on loopback"),
        ("127.0.0.1:0", "'0' is no port"),
        ("127.0.0.1:65536", "is no port"),
        ("127.0.0.1:x", "is no port"),
        ("127.0.0.1:-1", "is no port"),
    ],
)
def test_other_places_are_refused(listen: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        place_of(listen)
    assert problem_of(ApiConfig(listen=listen)) is not None


def test_problems_name_their_key() -> None:
    assert problem_of(ApiConfig()) is None
    assert problem_of(ApiConfig(listen="127.0.0.1:1", secret=Secret("x" * 8))) is None
    assert problem_of(ApiConfig(secret=Secret("short"))) == (
        "secret",
        "a secret has 8 letters at least (without one, one is generated)",
    )
    for origin in ("dash.example", "https://dash.example/x", "null", "*"):
        found = problem_of(ApiConfig(allow_origins=(origin,)))
        assert found is not None
        assert found[0] == "allow-origins"


def test_port_is_opened_and_the_user_is_told(tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    config = ApiConfig(listen=place, allow_hosts=("box",), allow_origins=("https://d.example",))
    found, lines = listen_or_tell(config, StateFiles(tmp_path))
    assert found is not None
    assert lines == [f"api for dashboards at http://{place}, its secret is in {tmp_path / 'api-secret'}"]
    assert found.access.secret.reveal() == (tmp_path / "api-secret").read_text().strip()
    assert (found.access.hosts, found.access.origins) == (("box",), ("https://d.example",))
    with pytest.raises(SystemChangeError, match=f"cannot listen at {place}: address already in use"):
        listen(config, StateFiles(tmp_path))
    found.listener.close()
    given, lines = listen_or_tell(ApiConfig(listen=place, secret=Secret("opensesame")), StateFiles(None))
    assert given is not None
    assert given.access.secret == Secret("opensesame")
    assert "opensesame" not in f"{lines} {given}"
    given.listener.close()


def test_no_port_is_opened_where_none_is_wanted_or_possible() -> None:
    assert listen_or_tell(ApiConfig(), StateFiles(None)) == (None, [])
    found, lines = listen_or_tell(ApiConfig(listen=f"127.0.0.1:{free_port()}"), StateFiles(None))
    assert (found, lines) == (None, ["there is no folder for a secret (give one in [api])"])
