"""Build hook: compile the packet path with hatch-mypyc, or say why not and ship it as it is.

hatch-mypyc writes its C files and extension modules beside the sources. We hand it a copy, so that a
build leaves nothing in the tree: a stray extension module there would silently take the place of the
source that a developer edits, and of the uncompiled code that the tests mean to run.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PIDFD_GETFD = 438  # the system call's number, the same on every architecture


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """Add the compiled modules to the wheel, and its platform tag; without a compiler, neither."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        reason = why_not_compile()
        if reason:
            tell_user(f"tunproxy: installing uncompiled, small packets will be slower: {reason}")
            return
        self.stage = Path(tempfile.mkdtemp(prefix="tunproxy-build-"))
        shutil.copy(Path(self.root, "pyproject.toml"), self.stage)
        # Each module is a small C file beside the one big file of the unit: compile them on the other cores.
        Path(self.stage, "setup.cfg").write_text(f"[build_ext]\nparallel = {os.cpu_count()}\n")
        no_leftovers = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(Path(self.root, "tunproxy"), self.stage / "tunproxy", ignore=no_leftovers)
        try:
            with contextlib.chdir(self.stage):
                self.mypyc().initialize(version, build_data)
        except Exception as error:
            shutil.rmtree(self.stage)
            sys.exit(f"cannot compile tunproxy: {error}")
        for module in self.stage.rglob("*.so"):
            build_data["force_include"][str(module)] = str(module.relative_to(self.stage))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "stage"):
            shutil.rmtree(self.stage)

    def mypyc(self) -> BuildHookInterface:  # type: ignore[type-arg]
        """Return hatch-mypyc's hook, set up to work in the copy."""
        from hatch_mypyc.plugin import MypycBuildHook  # not needed to build uncompiled

        options = {**self.config["options"], "opt_level": os.environ.get("MYPYC_OPT_LEVEL", "3")}
        config = {**self.config, "options": options}
        whereabouts = (self.build_config, self.metadata, self.directory, self.target_name, self.app)
        hook: BuildHookInterface = MypycBuildHook(str(self.stage), config, *whereabouts)  # type: ignore[type-arg]
        return hook


def why_not_compile() -> str:
    """Return what keeps us from compiling on this machine, with the remedy; "" where nothing does."""
    if os.environ.get("TUNPROXY_PURE", "") not in ("", "0"):
        return "TUNPROXY_PURE is set"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return f"no C compiler {compiler[0]!r} (apt-get install gcc, or set CC)"
    if not compiles(compiler, "int answer;"):
        return f"the C compiler {shlex.join(compiler)!r} does not work (apt-get install gcc libc6-dev)"
    if not compiles(compiler, "#include <Python.h>"):
        return "the C header Python.h is missing (apt-get install python3-dev)"
    return ""


def compiles(compiler: list[str], source: str) -> bool:
    """Return whether the compiler takes source, seeing Python's headers."""
    paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch, "probe.c")
        probe.write_text(source + "\n")
        headers = [f"-I{path}" for path in paths]
        command = [*compiler, *headers, "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
        try:
            return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def tell_user(line: str) -> None:
    """Print line once where the user sees it.

    pip keeps what a build prints to itself. So the line goes to the standard error of our parent where
    the kernel lets us borrow that, else to the terminal, and to our own standard error only without either.
    """
    sys.stderr.flush()
    descriptor = borrow_parents_stderr()
    if descriptor < 0:
        with contextlib.suppress(OSError):
            descriptor = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    with open(descriptor if descriptor >= 0 else 2, "w", closefd=descriptor >= 0) as out:
        print(line, file=out)


def borrow_parents_stderr() -> int:
    """Return a descriptor for our parent's standard error, or -1 where the kernel does not give it."""
    try:
        parent = os.pidfd_open(os.getppid())
    except (AttributeError, OSError):
        return -1
    try:
        return int(ctypes.CDLL(None).syscall(PIDFD_GETFD, parent, 2, 0))
    finally:
        os.close(parent)
