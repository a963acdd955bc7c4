"""The resolvers that the host had before us."""

from pathlib import Path

import pytest

from tunproxy.dns.system import system_resolvers


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """resolv.conf, and the file behind a stub."""
    return tmp_path / "resolv.conf", tmp_path / "behind"


def found(files: tuple[Path, Path], resolv_conf: str, behind: str = "", **options: object) -> list[str]:
    files[0].write_text(resolv_conf)
    if behind:
        files[1].write_text(behind)
    return system_resolvers(resolv_conf=files[0], behind_stubs=(files[1],), **options)  # type: ignore[arg-type]


def test_nameservers_in_order_each_once(files: tuple[Path, Path]) -> None:
    text = "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\n nameserver 2001:DB8::1 # x\n"
    text += "nameserver 192.0.2.1\nnameserver\n"
    assert found(files, text) == ["192.0.2.1", "2001:db8::1"]


def test_link_local_nameserver_keeps_its_interface(files: tuple[Path, Path]) -> None:
    assert found(files, "nameserver fe80::1%eth0\n") == ["fe80::1%eth0"]


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.1", "::1", "0.0.0.0"])
def test_stub_of_this_host_would_ask_us_so_those_behind_it_are_asked(
    files: tuple[Path, Path], stub: str
) -> None:
    assert found(files, f"nameserver {stub}\n", "nameserver 192.0.2.1\n") == ["192.0.2.1"]
    files[1].unlink()
    assert found(files, f"nameserver {stub}\n") == []


def test_stub_may_be_asked_where_the_host_does_not_go_through_the_device(files: tuple[Path, Path]) -> None:
    text = "nameserver 127.0.0.53\n"
    assert found(files, text, "nameserver 192.0.2.1\n", may_use_loopback=True) == ["127.0.0.53"]


def test_we_are_never_asked(files: tuple[Path, Path]) -> None:
    ours = ("198.18.0.2", "fc00:0::2")
    assert found(files, "nameserver 198.18.0.2\nnameserver fc00::2\nnameserver 192.0.2.1\n", ours=ours) == [
        "192.0.2.1"
    ]
    assert found(files, "nameserver 198.18.0.2\n", "nameserver 192.0.2.2\n", ours=ours) == ["192.0.2.2"]


def test_host_without_any(files: tuple[Path, Path]) -> None:
    assert system_resolvers(resolv_conf=files[0], behind_stubs=()) == []
    assert found(files, "nameserver nonsense\n") == []
