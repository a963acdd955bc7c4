"""Control sockets: claimed by one, found by many."""

import grp
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control import endpoint
from tunproxy.control.endpoint import ALIVE, DEAD, DENIED, claim, directories, find, look_at
from tunproxy.errors import SystemChangeError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory there is for control sockets."""
    found = tmp_path / "run"
    monkeypatch.setattr(endpoint, "directories", lambda: [found])
    monkeypatch.setattr(endpoint, "OF_ROOT", found)
    return found


def leave_behind(path: Path) -> None:
    """Make what a killed process leaves."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_claimed_socket_is_its_owners_alone_and_gone_after_it(place: Path) -> None:
    made = claim("tun0")
    assert made.path == place / "tun0.sock"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert look_at(made.path) == endpoint.Found(made.path, ALIVE, os.getpid())
    made.close()
    assert not place.exists()
    made.close()


def test_directory_of_an_ordinary_user_is_closed_to_others(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "OF_ROOT", Path("/nowhere"))
    made = claim("tun0")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    made.close()


def test_claim_replaces_what_a_killed_process_left_and_removes_the_rest(place: Path) -> None:
    leave_behind(place / "tun0.sock")
    leave_behind(place / "exec-1.sock")
    made = claim("tun0")
    assert [path.name for path in place.iterdir()] == ["tun0.sock"]
    assert look_at(made.path).state == ALIVE
    made.close()


def test_claim_respects_who_lives(place: Path) -> None:
    first = claim("tun0")
    with pytest.raises(
        SystemChangeError, match=rf"^cannot listen at .*tun0\.sock: process {os.getpid()} does"
    ):
        claim("tun0")
    other = claim("tun1")
    assert [(each.name, each.state) for each in find()] == [("tun0", ALIVE), ("tun1", ALIVE)]
    first.close()
    assert [each.name for each in find()] == ["tun1"]
    other.close()


def test_claim_does_not_touch_what_is_no_socket(place: Path) -> None:
    place.mkdir()
    (place / "note.txt").write_text("mine")
    made = claim("tun0")
    made.close()
    assert (place / "note.txt").read_text() == "mine"


def test_claim_says_what_stands_in_its_way(place: Path) -> None:
    (place / "tun0.sock").mkdir(parents=True)
    with pytest.raises(SystemChangeError, match=r"tun0\.sock: something else is there \(remove it\)$"):
        claim("tun0")


def test_close_leaves_the_socket_of_somebody_who_came_after(place: Path) -> None:
    made = claim("tun0")
    made.path.unlink()
    again = claim("tun0")
    made.close()
    assert look_at(again.path).state == ALIVE
    again.close()


@pytest.mark.parametrize("attempt", range(10))
def test_claims_at_the_same_time_one_wins(place: Path, attempt: int) -> None:
    leave_behind(place / "tun0.sock")
    won: list[endpoint.Endpoint] = []
    lost: list[SystemChangeError] = []

    def compete() -> None:
        try:
            won.append(claim("tun0"))
        except SystemChangeError as error:
            lost.append(error)

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert look_at(won[0].path).state == ALIVE
    won[0].close()


def test_directory_that_others_remove_meanwhile_is_made_again(place: Path) -> None:
    failures: list[SystemChangeError] = []

    def come_and_go(name: str) -> None:
        try:
            for _ in range(100):
                claim(name).close()
        except SystemChangeError as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(f"tun{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not place.exists()


def test_directory_that_others_write_to_is_not_used(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(
        SystemChangeError, match=r"^cannot make a control socket: .*somebody else may write to it"
    ):
        claim("tun0")
    leave_behind(place / "tun0.sock")
    assert find() == []


def test_directory_that_is_a_link_is_not_used(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemChangeError, match=r"^cannot make a control socket"):
        claim("tun0")


def test_next_directory_is_taken_where_one_cannot_be_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "directories", lambda: [Path("/proc/nowhere"), place])
    made = claim("tun0")
    assert made.path.parent == place
    made.close()


def test_no_directory_at_all_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "directories", lambda: [Path("/proc/nowhere")])
    with pytest.raises(
        SystemChangeError, match=r"^cannot make a control socket: /proc/nowhere: no such file"
    ):
        claim("tun0")


def test_find_tells_the_dead_from_the_living(place: Path) -> None:
    leave_behind(place / "old.sock")
    assert [(each.name, each.state, each.pid) for each in find()] == [("old", DEAD, 0)]
    assert look_at(place / "none.sock").state == DEAD


def test_find_without_any_directory_finds_nothing(place: Path) -> None:
    assert find() == []


def test_directories_follow_user_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert [str(each) for each in directories()] == [
        "/run/user/7/tunproxy", "/run/user/1000/tunproxy", "/tmp/tunproxy-1000",
    ]  # fmt: skip
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert [str(each) for each in directories()] == ["/run/user/1000/tunproxy", "/tmp/tunproxy-1000"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert directories()[0] == Path("/run/tunproxy")


@needs_namespaces
def test_socket_of_root_is_denied_to_others(place: Path, tmp_path: Path) -> None:
    made = claim("tun0")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o111)

    def check() -> None:
        os.setresuid(47_110, 47_110, 47_110)
        assert [(each.name, each.state) for each in find()] == [("tun0", DENIED)]

    isolated(check)
    made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to a group it is not in")
def test_socket_of_root_is_shared_with_the_group_of_those_who_may_command(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = grp.getgrnam("daemon")
    monkeypatch.setattr(endpoint, "GROUP", daemon.gr_name)
    made = claim("tun0")
    status = made.path.stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (daemon.gr_gid, 0o660)
    assert "sudo usermod -aG daemon USER" in endpoint.or_group(made.path)
    monkeypatch.setattr(endpoint, "GROUP", "no-such-group-here")
    assert endpoint.or_group(made.path) == ""
    made.close()
    assert endpoint.or_group(made.path) == ""


def test_socket_elsewhere_is_shared_with_nobody(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "OF_ROOT", Path("/nowhere"))
    monkeypatch.setattr(endpoint, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    made = claim("tun0")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    made.close()


def test_sweep_removes_what_nobody_listens_at(place: Path) -> None:
    made = claim("tun0")
    leave_behind(place / "tun1.sock")
    assert endpoint.sweep() == [place / "tun1.sock"]
    assert [path.name for path in place.iterdir()] == ["tun0.sock"]
    made.close()
    assert endpoint.sweep() == []
