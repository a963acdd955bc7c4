"""Everything through one proxy, as a user does it: ``tunproxy exec`` and ``tunproxy up`` with ``--upstream``.

The picture is in ``proxies``.
"""

import errno
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.proxied import BANNER, DIGEST, ECHO, NOBODY, WEB, Up, exchange, serve, until_end
from tests.interop.proxies import KINDS, PASSWORD, SILENT, TARGET, TARGET6, UNREACHABLE, ProxyLab, every
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import HOST_IPV4, ORDINARY_UID, TUNPROXY
from tests.system.peers import MEGABYTE, block

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("nginx"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

ROOT: dict[str, object] = {}
USER: dict[str, object] = {"uid": ORDINARY_UID}
WITHOUT_IPV6 = {"dante-socks4", "sing-box-socks4a"}  # the protocol has none
# These close both directions when one has ended, which is no fault of ours.
WITHOUT_HALF_CLOSE = {
    "microsocks", "microsocks-login", "tinyproxy", "tinyproxy-login", "squid", "squid-https",
}  # fmt: skip


# These say that the target is reached before they have tried, so that the truth can only follow.
EAGER = ("sing-box-http", "sing-box-https", "mihomo", "mihomo-http")


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made:
        for _ in serve(made):
            yield made


@pytest.fixture(scope="module")
def up(request: pytest.FixtureRequest, lab: ProxyLab) -> Iterator[Up]:
    """``tunproxy up`` through the proxy that the test is parametrized with; .proxy is its name."""
    with Up(lab, "--upstream", lab.url(request.param), name=f"up-{request.param}") as made:
        made.proxy = request.param  # type: ignore[attr-defined]
        yield made
        made.check()


def through(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("up", every(*names), indirect=True)


# one command


@pytest.mark.parametrize("machine", [ROOT, USER], ids=["root", "user"])
@pytest.mark.parametrize("proxy", every())
def test_exec_curl_comes_from_the_proxy(lab: ProxyLab, proxy: str, machine: dict[str, object]) -> None:
    command = (*TUNPROXY, "exec", "--upstream", lab.url(proxy), "--")
    done = lab.run(*command, "curl", "-sS", f"http://{TARGET}:{WEB}/whence", machine=machine)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() not in ("", HOST_IPV4)


@pytest.mark.parametrize("proxy", every("microsocks-login", "sing-box-https"))
def test_exec_password_is_not_in_the_list_of_processes(lab: ProxyLab, proxy: str) -> None:
    """Neither as it stands in the URL nor as it is meant, and while it is in use."""
    url = lab.url(proxy)
    written = url.partition("://")[2].partition("@")[0].partition(":")[2]
    ours = (
        "$PPID $(ps -o pid= --ppid $PPID)"  # not those of tests beside this one, whose password is the same
    )
    look = f"ps ww -o args -p $PPID --ppid $PPID; for id in {ours}; do tr '\\0' ' ' </proc/$id/cmdline; done"
    probe = f"{look}; curl -sS http://{TARGET}:{WEB}/whence; {look}"
    done = lab.run(*TUNPROXY, "exec", "--upstream", url, "--", "sh", "-c", probe)
    assert done.returncode == 0, done.stderr
    assert "tunproxy exec --upstream" in done.stdout
    assert written not in done.stdout
    assert PASSWORD not in done.stdout


@pytest.mark.needs("curl", "microsocks")
def test_exec_wrong_password_is_refused_and_told_in_one_line(lab: ProxyLab) -> None:
    lab.url("microsocks-login")
    url = KINDS["microsocks-login"].at().replace("sw%3A", "mackerel")
    done = lab.run(*TUNPROXY, "exec", "--upstream", url, "--", "curl", "-sS", f"http://{TARGET}:{WEB}/")
    assert done.returncode == 7
    told = [line for line in done.stderr.splitlines() if not line.startswith("curl:")]
    assert len(told) == 1, done.stderr
    assert "does not accept user 'joe@work' with this password" in told[0]
    assert "mackerel" not in done.stderr


@pytest.mark.needs("curl")
def test_exec_without_the_proxy_is_refused_and_told_in_one_line(lab: ProxyLab) -> None:
    url = "socks5://198.51.100.1:9"
    done = lab.run(*TUNPROXY, "exec", "--upstream", url, "--", "curl", "-sS", f"http://{TARGET}:{WEB}/")
    assert done.returncode == 7
    told = [line for line in done.stderr.splitlines() if not line.startswith("curl:")]
    assert len(told) == 1, done.stderr
    assert "cannot reach the proxy: connection refused" in told[0]


@pytest.mark.parametrize("proxy", every("sing-box-https", "squid-https"))
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("?ca_file=CA", ""), "its certificate cannot be trusted: self-signed certificate"),
        (("?ca_file=CA", "?ca_file=CA&server_name=other.test"), "certificate is not valid for 'other.test'"),
    ],
    ids=["unknown CA", "wrong host"],
)
def test_exec_proxy_with_a_bad_certificate_is_refused(
    lab: ProxyLab, proxy: str, change: tuple[str, str], told: str
) -> None:
    url = lab.url(proxy).replace(*(part.replace("CA", str(lab.certificate)) for part in change))
    done = lab.run(*TUNPROXY, "exec", "--upstream", url, "--", "curl", "-sS", f"http://{TARGET}:{WEB}/")
    assert (done.returncode, done.stdout) == (7, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("curl:")]
    assert len(lines) == 1, done.stderr
    assert told in lines[0]


@pytest.mark.parametrize("proxy", every("sing-box-https"))
def test_exec_server_name_says_whom_the_certificate_is_for(lab: ProxyLab, proxy: str) -> None:
    url = lab.url(proxy) + "&server_name=proxy.lab.test"
    done = lab.run(*TUNPROXY, "exec", "--upstream", url, "--", "curl", "-sS", f"http://{TARGET}:{WEB}/204")
    assert (done.returncode, done.stderr) == (0, "")


# the whole host


@through()
def test_up_sixty_four_megabytes_arrive_unaltered(lab: ProxyLab, up: Up, tmp_path: Path) -> None:
    content = (block() * 2)[: 64 * MEGABYTE]
    (lab.scratch / "www" / "big").write_bytes(content)
    expected = hashlib.blake2b(content).hexdigest()
    curl = ("curl", "-sS", "-f", "--max-time", "60", "-H", "Expect:")
    done = lab.run(*curl, "-o", str(tmp_path / "big"), f"http://{TARGET}:{WEB}/big", timeout=70)
    assert (done.returncode, done.stderr) == (0, "")
    assert hashlib.blake2b((tmp_path / "big").read_bytes()).hexdigest() == expected
    upload = f"http://{TARGET}:{WEB}/upload/big"
    done = lab.run(*curl, "-T", str(lab.scratch / "www" / "big"), upload, timeout=70)
    assert (done.returncode, done.stderr) == (0, "")
    uploaded = lab.scratch / "www" / "upload" / "big"
    assert hashlib.blake2b(uploaded.read_bytes()).hexdigest() == expected
    uploaded.unlink()


@through()
def test_up_two_hundred_connections_at_once_arrive_unaltered(lab: ProxyLab, up: Up, tmp_path: Path) -> None:
    before = up.descriptors()
    folder = lab.scratch / "www" / "many"
    folder.mkdir(exist_ok=True)
    wanted = []
    for number in range(200):
        (folder / str(number)).write_bytes(block()[number : 50_000 + 1009 * number])
        wanted += [f'url = "http://{TARGET}:{WEB}/many/{number}"', f'output = "{tmp_path / str(number)}"']
    (tmp_path / "wanted").write_text("\n".join(wanted))
    parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "200", "--max-time", "60")
    done = lab.run("curl", "-sS", "-f", *parallel, "-K", str(tmp_path / "wanted"), timeout=70)
    assert done.returncode == 0, done.stderr
    for number in range(200):
        assert (tmp_path / str(number)).read_bytes() == (folder / str(number)).read_bytes(), number
    assert up.has_at_most(before)


@through()
def test_up_who_speaks_first_is_heard(lab: ProxyLab, up: Up) -> None:
    with lab.host.connect(TARGET, BANNER, timeout=20) as client:
        assert client.recv(100) == b"220 speak\r\n"
        client.sendall(b"hello")
        assert until_end(client) == b"221 you said hello"


@through(*(name for name in KINDS if name not in WITHOUT_HALF_CLOSE))
def test_up_half_closed_stream_is_answered(lab: ProxyLab, up: Up) -> None:
    words = block()[: 3 * MEGABYTE]
    with lab.host.connect(TARGET, DIGEST, timeout=20) as client:
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == hashlib.blake2b(words).hexdigest().encode()


@through(*(name for name in KINDS if name not in WITHOUT_IPV6))
def test_up_ipv6_target_is_reached(lab: ProxyLab, up: Up) -> None:
    with lab.host.connect(TARGET6, ECHO, timeout=20) as client:
        assert exchange(client, b"hello" * 10_000) == b"hello" * 10_000


@through(*WITHOUT_IPV6)
def test_up_ipv6_target_that_the_proxy_cannot_have_is_unreachable(lab: ProxyLab, up: Up) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the number is what matters
        lab.host.connect(TARGET6, ECHO, timeout=20)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)


@through(*(name for name in KINDS if name not in EAGER))
def test_up_refused_is_refused(lab: ProxyLab, up: Up) -> None:
    before = up.descriptors()
    for _ in range(10):
        with pytest.raises(ConnectionRefusedError):
            lab.host.connect(TARGET, NOBODY, timeout=20)
    assert up.has_at_most(before)


@through(*EAGER)
def test_up_refused_too_late_ends_nevertheless(lab: ProxyLab, up: Up) -> None:
    before = up.descriptors()
    for _ in range(3):
        began = time.monotonic()
        try:
            with lab.host.connect(TARGET, NOBODY, timeout=20) as client:
                assert until_end(client) == b""
        except ConnectionError:  # refused, reset, or, where an end came before the reset, a broken pipe
            pass
        assert time.monotonic() - began < 20  # mihomo tries again and again for some seconds
    assert up.has_at_most(before)


# What proxies say of a host that cannot be reached; the others say no more than that it failed.
@through("microsocks", "microsocks-login", "dante", "sing-box", "sing-box-login")
def test_up_unreachable_is_unreachable(lab: ProxyLab, up: Up) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the number is what matters
        lab.host.connect(UNREACHABLE, ECHO, timeout=20)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), up.lines()


@through("microsocks", "dante", "tinyproxy")
def test_up_silent_target_is_given_up_by_the_client_or_the_proxy(lab: ProxyLab, up: Up) -> None:
    with pytest.raises(OSError):  # noqa: PT011  # whoever gives up first
        lab.host.connect(SILENT, ECHO, timeout=6)
