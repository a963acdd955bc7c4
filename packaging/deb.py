"""Make a Debian package of a wheel and of what it depends on: deb.py WHEEL DIRECTORY [-Zgzip ...]

Debian's own versions of the dependencies are too old, so the package brings those of the environment that
runs this: the ones that the tests ran with. They have a folder of their own, made like a virtual environment,
to which nobody is to add anything: so all that a user may want is in it, the extras EXTRAS too.

    /usr/bin/tunproxy                                starts it there
    /usr/lib/tunproxy/{pyvenv.cfg,bin,lib}           its Python, the wheel, the dependencies
    /usr/lib/{systemd/system,sysusers.d}             the service, its accounts
    /usr/share/{man,doc,bash-completion,zsh,fish}    the manual page, documents, completions
    /etc/tunproxy/tunproxy.toml                      the configuration

Only dpkg-deb is needed; what stands behind DIRECTORY are options of its. SOURCE_DATE_EPOCH is the date of all
files; without it, that of CHANGELOG.md. The same wheel, environment and date make the same package.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from bundle import add_dependencies, full_terms_of, libraries, terms_of, unpack

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
HOME = "usr/lib/tunproxy"
EXTRAS = ("dashboard", "seccomp", "top")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"{HOME}/lib/{PYTHON}/site-packages"
LAUNCHER = """\
#!/usr/lib/tunproxy/bin/python3 -I
from tunproxy.cli.main import main

main()
"""


def main() -> None:
    """Make the package, and print where it is."""
    wheel, target, *how = sys.argv[1:]
    print(make_package(Path(wheel), Path(target), how))


def make_package(wheel: Path, target: Path, how: list[str]) -> Path:
    """Make the package of a wheel in the folder target; how are options of dpkg-deb."""
    if shutil.which("dpkg-deb") is None:
        sys.exit("cannot make a Debian package: dpkg-deb is missing (apt-get install dpkg)")
    date = int(os.environ.get("SOURCE_DATE_EPOCH") or (ROOT / "CHANGELOG.md").stat().st_mtime)
    os.environ["SOURCE_DATE_EPOCH"] = str(date)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "root")
        about = unpack(wheel, root / SITE)
        bundled = list(add_dependencies(about.get_all("Requires-Dist") or [], root / SITE, EXTRAS))
        version = debian_version(about["Version"])
        add_python(root)
        add_service(root)
        add_documents(root, version, date, bundled)
        add_control(root, version, date)
        settle(root, date)
        architecture = shown("dpkg", "--print-architecture")
        package = target / f"tunproxy_{version}_{architecture}.deb"
        half = package.with_suffix(".deb.new")
        command = ["dpkg-deb", "--root-owner-group", *how, "--build", str(root), str(half)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        half.replace(package)
    return package


# what is in it


def add_python(root: Path) -> None:
    """Make a virtual environment of the folder, and what starts tunproxy in it."""
    version = ".".join(map(str, sys.version_info[:2]))
    write(
        root / HOME / "pyvenv.cfg",
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n",
    )
    link = root / HOME / "bin/python3"
    link.parent.mkdir()
    link.symlink_to(f"/usr/bin/{PYTHON}")
    write(root / "usr/bin/tunproxy", LAUNCHER)


def add_service(root: Path) -> None:
    """Add the units, the accounts, and the configuration."""
    units = root / "usr/lib/systemd/system"
    write(units / "tunproxy.service", (HERE / "tunproxy.service").read_text())
    relay = (HERE / "tunproxy-relay.service").read_text()
    write(units / "tunproxy-relay.service", relay.replace("/usr/local/bin/tunproxy", "/usr/bin/tunproxy"))
    write(root / "usr/lib/sysusers.d/tunproxy.conf", (HERE / "tunproxy.sysusers").read_text())
    write(root / "etc/tunproxy/tunproxy.toml", (HERE / "debian/tunproxy.toml").read_text())


def add_documents(root: Path, version: str, date: int, bundled: list[metadata.Distribution]) -> None:
    """Add the manual page, completions, and what Debian wants to know."""
    documents = root / "usr/share/doc/tunproxy"
    for name in (
        "README.md",
        "docs/configuration.md",
        "docs/dashboard.md",
        "docs/operations.md",
        "docs/plugin-authors.md",
    ):
        write(documents / Path(name).name, (ROOT / name).read_text())
    write(documents / "changelog.gz", packed((ROOT / "CHANGELOG.md").read_bytes()))
    when = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(date))
    entry = f"tunproxy ({version}) unstable; urgency=medium\n\n  * Version {version}.\n\n"
    entry += f" -- {maintainer()}  {when}\n"
    write(documents / "changelog.Debian.gz", packed(entry.encode()))
    write(documents / "copyright", copyright_of(bundled))
    for name in ("tunproxy.toml", "ads.txt", "relay.toml"):
        write(documents / "examples" / name, (HERE / name).read_text())
    for name in ("grafana/tunproxy.json", "prometheus/prometheus.yml", "prometheus/tunproxy.rules.yml"):
        write(documents / "examples" / name, (HERE / name).read_text())
    write(root / "usr/share/man/man1/tunproxy.1.gz", packed(in_package(root, "manpage.py")))
    in_package(root, "completions.py", str(root))
    write(root / "usr/share/lintian/overrides/tunproxy", (HERE / "debian/lintian-overrides").read_text())


def in_package(root: Path, script: str, *arguments: str) -> bytes:
    """Return what a script of ours prints that runs on the code in the package."""
    environment = {**os.environ, "PYTHONPATH": str(root / SITE), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", str(HERE / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=root).stdout


def copyright_of(bundled: list[metadata.Distribution]) -> str:
    """Return who may do what with the package (Debian's machine-readable format, 1.0)."""
    lines = (ROOT / "LICENSE").read_text().splitlines()
    holder = next((line for line in lines if line.startswith("Copyright ")), "Copyright tunproxy")
    stanzas = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: tunproxy",
        "\n".join(
            ["Files: *", holder.replace("Copyright", "Copyright:", 1), "License: Expat"]
            + [f" {line}" if line else " ." for line in lines]
        ),
    ]
    for each in sorted(bundled, key=lambda each: each.name.lower()):
        stem = f"{SITE}/{each.name.replace('-', '_')}"
        stanzas.append(
            f"Files: {stem}*\nCopyright: the authors of {each.name} {each.version}\n"
            f"License: {each.name}\n {terms_of(each)}\n"
            f" The full text is beside its code: {full_terms_of(each, SITE)}"
        )
    return "\n\n".join(stanzas) + "\n"


# what dpkg is told


def add_control(root: Path, version: str, date: int) -> None:
    """Add what dpkg reads: names, scripts, sums."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    fields = {
        "Package": "tunproxy",
        "Version": version,
        "Architecture": shown("dpkg", "--print-architecture"),
        "Maintainer": maintainer(),
        "Installed-Size": str(sum(-(-path.stat().st_size // 1024) for path in files)),
        "Depends": ", ".join([PYTHON, "passwd", *libraries(files)]),
        "Recommends": "libnftables1, libseccomp2",
        "Suggests": "libbpf1, systemd",
        "Section": "net",
        "Priority": "optional",
        "Description": "transparent, system-wide proxy with a TCP/IP stack of its own\n"
        " Packets of programs are routed into a TUN device; tunproxy makes connections\n"
        " and datagrams of them, decides by rules where each goes, and carries it there\n"
        " directly or through SOCKS, HTTP, TLS and Shadowsocks proxies. Programs need\n"
        " not know.\n"
        " .\n"
        " One command goes through it by tunproxy exec, the whole machine by tunproxy up\n"
        " or the service, which is not started until it is enabled.",
    }
    control = root / "DEBIAN"
    write(control / "control", "".join(f"{key}: {value}\n" for key, value in fields.items()))
    write(control / "conffiles", "/etc/tunproxy/tunproxy.toml\n")
    for name in ("postinst", "prerm", "postrm"):
        write(control / name, (HERE / "debian" / name).read_text())
    sums = [
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in sorted(files)
    ]
    write(control / "md5sums", "".join(sums))


def settle(root: Path, date: int) -> None:
    """Give every file the date, and the mode that it has on any machine."""
    programs = {
        root / "usr/bin/tunproxy",
        *(root / "DEBIAN" / name for name in ("postinst", "prerm", "postrm")),
    }
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (date, date), follow_symlinks=False)


def debian_version(version: str) -> str:
    """Return a version of ours as Debian orders them: what comes before a release with ~ in front."""
    return re.sub(r"(?<=\d)\.?(a|b|rc|dev)(?=\d)", r"~\1", version) + "-1"


def maintainer() -> str:
    """Return who answers for the package (deb(7) wants to know)."""
    name = os.environ.get("DEBFULLNAME", "tunproxy packagers")
    return f"{name} <{os.environ.get('DEBEMAIL', 'tunproxy@localhost')}>"


def shown(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    main()
