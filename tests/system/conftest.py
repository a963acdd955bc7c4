"""Fixtures of the tests that need a lab: one per test module, inspected after each test."""

import os
import resource
import tempfile
from collections.abc import Iterator

import pytest

from tests.system.lab import IPV4, IPV6, Family, Lab, Options

FOLDERS = ("/run/tunproxy", "/var/lib/tunproxy")
GRACE = 10.0  # seconds within which the descriptors of ended flows must be closed
LONG_GRACE = 20.0  # the same where flows have no end, but a time-out


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaks_checked_per_module: flows outlive their tests by a time-out")


def can_make_namespaces() -> bool:
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


@pytest.fixture(scope="session", autouse=True)
def many_descriptors() -> None:
    """Let the tests hold thousands of sockets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session", autouse=True)
def own_folders() -> Iterator[None]:
    """Have control sockets and remembered names that are nobody else's, another run's or a user's.

    Removing a folder takes down what others have mounted there. So something is put into each first.
    """
    if not can_make_namespaces():
        yield
        return
    from tunproxy.host import libc  # only now it is settled which one is tested

    kept = []
    for folder in FOLDERS:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        kept.append((os.open(folder, os.O_DIRECTORY), os.path.basename(tempfile.mkdtemp(dir=folder))))
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
    for folder in FOLDERS:
        libc.mount("none", folder, "tmpfs", 0, "mode=755")
    yield
    for below, name in kept:
        os.rmdir(name, dir_fd=below)
        os.close(below)


@pytest.fixture(scope="module")
def module_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Build a lab; a module that wants a special one parametrizes this with Options, indirectly."""
    if not can_make_namespaces():
        pytest.skip("needs root and /dev/net/tun")
    options: Options = getattr(request, "param", Options())
    with Lab(tmp_path_factory.mktemp("lab"), options) as lab:
        yield lab
        inspect(lab, grace=LONG_GRACE)


@pytest.fixture
def lab(request: pytest.FixtureRequest, module_lab: Lab) -> Iterator[Lab]:
    """The module's lab with a running proxy, which must be unharmed afterwards."""
    module_lab.ensure_proxy()
    yield module_lab
    inspect(module_lab, grace=-1 if request.node.get_closest_marker("leaks_checked_per_module") else GRACE)


@pytest.fixture(params=[IPV4, IPV6], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


def inspect(lab: Lab, *, grace: float) -> None:
    """Fail where the proxy died, complained, or (with a grace that is not negative) kept descriptors."""
    proxy = lab.proxy
    if proxy is None:
        return
    assert proxy.is_alive(), f"tunproxy died: {proxy.output()}"
    assert not proxy.complaints(), f"tunproxy complains: {proxy.output()}"
    if grace >= 0:
        leaked = proxy.leaked(grace)
        assert not leaked, f"tunproxy holds {leaked} descriptors of flows that ended"
