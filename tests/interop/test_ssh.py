"""ssh and scp against an sshd of our own, which knows one key and no password."""

import getpass
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.conftest import hash_of
from tests.system.lab import IPV4, IPV6, Family, Lab
from tests.system.peers import block

pytestmark = [pytest.mark.timeout(60), pytest.mark.needs("sshd", "ssh", "scp", "ssh-keygen", "unshare")]

PORT = 2222
# sshd wants an empty directory /run/sshd; a mount namespace keeps that off the machine.
START = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec {sshd} -D -e -f {settings}"


@dataclass(frozen=True)
class Login:
    """What ssh and scp need to be let in."""

    options: tuple[str, ...]
    user: str


@pytest.fixture(scope="module")
def login(module_lab: Lab) -> Iterator[Login]:
    scratch = module_lab.scratch
    for name in ("hostkey", "userkey"):
        module_lab.server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(scratch / name))
    (scratch / "known").write_text(
        "".join(f"[{host}]:{PORT} {(scratch / 'hostkey.pub').read_text()}" for host in (IPV4.host, IPV6.host))
    )
    settings = scratch / "sshd_config"
    settings.write_text(
        f"Port {PORT}\nListenAddress {IPV4.host}\nListenAddress {IPV6.host}\nHostKey {scratch}/hostkey\n"
        f"AuthorizedKeysFile {scratch}/userkey.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nUseDNS no\n"
        "Subsystem sftp internal-sftp\n"
    )
    sshd = shutil.which("sshd") or "sshd"  # it insists on an absolute path
    start = START.format(sshd=sshd, settings=settings)
    program = module_lab.start_serving("unshare", "--mount", "sh", "-c", start, port=PORT)
    options = (f"IdentityFile={scratch}/userkey", f"UserKnownHostsFile={scratch}/known", "BatchMode=yes",
               "IdentitiesOnly=yes", "ConnectTimeout=10")  # fmt: skip
    flags = tuple(word for option in options for word in ("-o", option))
    yield Login(("-F", "/dev/null", *flags), getpass.getuser())
    program.stop()


def test_command_returns_its_output_and_exit_code(lab: Lab, login: Login, family: Family) -> None:
    done = lab.client.run(
        "ssh", *login.options, "-p", str(PORT), f"{login.user}@{family.host}", "echo hello; exit 7"
    )
    assert (done.returncode, done.stdout) == (7, "hello\n"), done.stderr


def test_copy_there_and_back_is_unaltered(lab: Lab, login: Login, family: Family, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(block())
    remote = f"{login.user}@{family.literal()}:{there}"
    for words in ((str(source), remote), (remote, str(back))):
        done = lab.client.run("scp", "-q", *login.options, "-P", str(PORT), *words, env=dict(os.environ))
        assert done.returncode == 0, done.stderr
    assert hash_of(there) == hash_of(back) == hash_of(source)
