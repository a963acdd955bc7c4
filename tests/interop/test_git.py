"""git: clone over HTTP from plain files, clone and push over its own protocol."""

import os
import random
from pathlib import Path

import pytest

from tests.interop.conftest import WEB_PORT, Web
from tests.system.lab import Family, Lab
from tests.system.namespace import Namespace
from tests.system.peers import block

pytestmark = pytest.mark.timeout(60)

GIT_PORT = 9418


@pytest.mark.needs("git", "nginx", "openssl")
def test_clone_over_http_is_complete(lab: Lab, web: Web, family: Family, tmp_path: Path) -> None:
    head = make_repository(lab.server, web.root / f"{family.name}.git", tmp_path / "work")
    git(lab.server, "-C", str(web.root / f"{family.name}.git"), "update-server-info")
    git(lab.client, "clone", "-q", family.url(WEB_PORT, f"/{family.name}.git"), str(tmp_path / "clone"))
    assert git(lab.client, "-C", str(tmp_path / "clone"), "rev-parse", "HEAD") == head
    git(lab.client, "-C", str(tmp_path / "clone"), "fsck", "--full", "--strict")


@pytest.mark.needs("git")
def test_clone_and_push_over_git_protocol(lab: Lab, family: Family, tmp_path: Path) -> None:
    served = tmp_path / "served"
    head = make_repository(lab.server, served / "it.git", tmp_path / "work")
    program = lab.start_serving(
        *("git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack", f"--base-path={served}"),
        *(f"--listen={family.host}", f"--port={GIT_PORT}"),
        port=GIT_PORT, address=family.host, env=environment(),
    )  # fmt: skip
    clone = str(tmp_path / "clone")
    git(lab.client, "clone", "-q", f"git://{family.literal()}:{GIT_PORT}/it.git", clone)
    assert git(lab.client, "-C", clone, "rev-parse", "HEAD") == head
    (tmp_path / "clone" / "more").write_bytes(block()[:5_000_000])
    git(lab.client, "-C", clone, "add", "more")
    git(lab.client, "-C", clone, "commit", "-q", "-m", "more")
    git(lab.client, "-C", clone, "push", "-q", "origin", "HEAD")
    pushed = git(lab.client, "-C", clone, "rev-parse", "HEAD")
    assert git(lab.server, "-C", str(served / "it.git"), "rev-parse", "HEAD") == pushed
    program.stop()


def make_repository(namespace: Namespace, bare: Path, work: Path) -> str:
    """Make a repository of many objects, and a bare copy of it; return the name of its last commit."""
    git(namespace, "init", "-q", "-b", "main", str(work))
    rng = random.Random(1)
    for commit in range(3):
        for number in range(200):
            path = work / f"directory{number % 10}" / f"file{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(rng.randbytes(rng.randrange(20_000)))
        git(namespace, "-C", str(work), "add", "-A")
        git(namespace, "-C", str(work), "commit", "-q", "-m", f"commit {commit}")
    bare.parent.mkdir(exist_ok=True)
    git(namespace, "clone", "-q", "--bare", "--no-local", str(work), str(bare))
    return git(namespace, "-C", str(work), "rev-parse", "HEAD")


def git(namespace: Namespace, *arguments: str) -> str:
    done = namespace.run("git", *arguments, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Keep the settings of whoever runs the tests out."""
    people = {
        f"GIT_{role}_{what}": "test@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return {**os.environ, **people, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
