"""What a package of tunproxy brings along: the wheel, and the dependencies as this environment has them."""

import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from packaging.requirements import Requirement

# of a dependency: what only its build, or pip, has a use for
LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|\.hash|tests?)/|\.(c|cpp|h|pyi|pyx|pxd|pxi)$"
    r"|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$"
)
# libraries that compiled modules ask for, and the packages that have them
LIBRARIES = {b"libgcc_s.so.1": "libgcc-s1", b"libstdc++.so.6": "libstdc++6"}


def unpack(wheel: Path, site: Path) -> Message:
    """Unpack a wheel and return what it says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(archive.read(name).decode())


def add_dependencies(requirements: Iterable[str], site: Path) -> Iterator[metadata.Distribution]:
    """Copy what the requirements name, and what that needs, from this environment; yield each."""
    waiting = [Requirement(each) for each in requirements]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in ["", *wanted.extras]
        ):
            continue
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            sys.exit(f"cannot make a Debian package: {wanted} is not installed here (run make build)")
        if not wanted.specifier.contains(found.version, prereleases=True):
            sys.exit(f"cannot make a Debian package: {wanted} is wanted, and {found.version} is installed")
        copy_distribution(found, site)
        waiting += [Requirement(each) for each in found.requires or []]
        yield found


def copy_distribution(found: metadata.Distribution, site: Path) -> None:
    """Copy the modules of a distribution, and what it says of itself."""
    for file in found.files or []:
        if file.parts[0] == ".." or LEFT_OUT.search(str(file)):
            continue
        copy = site / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(found.locate_file(file)), copy)


def terms_of(found: metadata.Distribution) -> str:
    """Return in one line what a distribution says of its license."""
    about = dict(found.metadata.items())  # type: ignore[attr-defined]
    terms = (about.get("License-Expression") or about.get("License") or "").strip()
    return terms if terms and len(terms) < 200 and "\n" not in terms else "see there"


def libraries(files: list[Path]) -> list[str]:
    """Return the packages, with versions, of the libraries that compiled modules need."""
    newest, found = (0, 0), set()
    for path in files:
        if path.suffix == ".so" or ".so." in path.name:
            code = path.read_bytes()
            asked = re.findall(rb"GLIBC_(\d+)\.(\d+)\0?", code)
            newest = max([newest, *((int(major), int(minor)) for major, minor in asked)])
            found |= {package for library, package in LIBRARIES.items() if library in code}
    return [f"libc6 (>= {newest[0]}.{newest[1]})", *sorted(found)]
