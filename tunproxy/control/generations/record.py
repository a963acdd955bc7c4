"""What is written down of a generation: a document of its own, in JSON, beside the octets of its files."""

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from tunproxy.control.generations.contents import Contents, FileState

# what became of it
TRIAL: Final = "on trial"
HEALTHY: Final = "healthy"
FAILED: Final = "failed"
ASIDE: Final = "set aside"  # files that somebody wrote, kept before they were replaced; never applied
APPLIED: Final = frozenset((TRIAL, HEALTHY))  # what may be gone back to by itself


class KeptFile(Struct, frozen=True, kw_only=True):
    """A file: digest is the SHA-256 of its octets; is_kept, whether these are in the store.

    real is where path led, other than itself where a symbolic link is on the way.
    """

    path: str
    kind: str
    digest: str
    size: int
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    real: str = ""
    is_kept: bool = True


class Generation(Struct, frozen=True, kw_only=True):
    """One generation. at is in seconds since 1970; by says what had it applied, change what is other in it.

    restores is the number of the one whose files it has again, 0 for none. config is the configuration's
    path, "" where there was none. options are those of the command line, choices members of groups.
    """

    number: int
    at: float
    by: str
    change: str
    state: str
    why: str = ""
    restores: int = 0
    config: str = ""
    files: tuple[KeptFile, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> str:
        """Return what is the same for generations whose files are the same."""
        return _digest(self.config, {each.path: each.digest for each in self.files})


def content_of(config: str, contents: Contents) -> str:
    """Return what Generation.content would, of one with these files."""
    return _digest(config, {path: each.digest for path, each in contents.items()})


def kept_file(path: str, state: FileState, *, is_kept: bool) -> KeptFile:
    """Return what is written down of a file."""
    return KeptFile(
        path=path,
        kind=state.kind,
        digest=state.digest,
        size=len(state.data or b""),
        mode=state.mode,
        uid=state.uid,
        gid=state.gid,
        real=state.real,
        is_kept=is_kept,
    )


def _digest(config: str, digests: Mapping[str, str]) -> str:
    found = hashlib.sha256(config.encode(errors="surrogateescape"))
    for path, digest in sorted(digests.items()):
        found.update(f"\0{path}\0{digest}".encode(errors="surrogateescape"))
    return found.hexdigest()
