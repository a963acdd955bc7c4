"""Which tunproxy the tests run, and what may keep a test from running.

``--mode interpreted`` (the default) runs the sources of this tree. ``--mode compiled`` runs what
``make build`` installed, and ``--mode installed`` the same without asking that it be compiled. Before
the first test we check that the wanted code is really the one that Python finds, so that no run can
pass on the wrong one. ``TUNPROXY_TEST_MODE`` sets the mode where no option does.

Markers: ``interpreted_only(reason)``, ``compiled_only(reason)``, ``undisturbed`` and
``needs("curl", "nginx")``, which skips a test, naming the programs that are missing.
"""

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What hypothesis times by the clock, an example or the making of ten, takes seconds where the machine stalls.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROOT = Path(__file__).resolve().parent.parent
ADMIN_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mode",
        choices=("interpreted", "compiled", "installed"),
        default=os.environ.get("TUNPROXY_TEST_MODE", "interpreted"),
        help="which tunproxy to test: this tree's sources, or the one that `make build` installed",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interpreted_only(reason): cannot run on compiled code")
    config.addinivalue_line("markers", "compiled_only(reason): cannot run on the sources")
    config.addinivalue_line("markers", "needs(*programs): skip where one of these programs is missing")
    config.addinivalue_line("markers", "undisturbed: measures; `make test` runs nothing beside it")
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMIN_DIRECTORIES])
    state = tempfile.mkdtemp(prefix="tunproxy-tests-")  # what we would keep of each run, for the next one
    config.add_cleanup(lambda: shutil.rmtree(state, ignore_errors=True))
    os.environ["XDG_STATE_HOME"] = state
    if settings.get_current_profile_name() == "default":  # else somebody has chosen one
        settings.load_profile("unhurried")
    mode = config.getoption("mode")
    wrong = use_tree() if mode == "interpreted" else use_installed(compiled=mode == "compiled")
    if wrong:
        raise pytest.UsageError(f"--mode {mode}: {wrong}")


def pytest_report_header() -> str:
    version = importlib.import_module("tunproxy.version")
    return f"testing: {version.describe()} from {Path(version.__file__).parent}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    compiled = importlib.import_module("tunproxy.version").is_compiled()
    for item in items:
        for marker in item.iter_markers("interpreted_only" if compiled else "compiled_only"):
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))
        programs = {name for marker in item.iter_markers("needs") for name in marker.args}
        missing = sorted(name for name in programs if shutil.which(name) is None)
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


def use_tree() -> str:
    """Make this process, and the Python programs it starts, import the tree; return what prevents it."""
    stray = next((ROOT / "tunproxy").rglob("*.so"), None)
    if stray:
        return f"{stray} would run instead of its source (delete it)"
    sys.path.insert(0, str(ROOT))
    shown = importlib.import_module("tests.tree").present_tree()
    sys.path.insert(0, str(shown))
    paths = [str(shown), str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    found = Path(importlib.import_module("tunproxy.version").__file__ or "").parent
    return "" if found == ROOT / "tunproxy" else f"{found} was imported before the tests began"


def use_installed(*, compiled: bool) -> str:
    """Make this process, and the Python programs it starts, import what is installed, as above."""
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.pop("PYTHONPATH", None)
    try:
        version = importlib.import_module("tunproxy.version")
    except ImportError:
        return "tunproxy is not installed (run make build)"
    found = Path(version.__file__).parent
    if found == ROOT / "tunproxy":
        return "Python finds the tree's tunproxy (unset PYTHONPATH)"
    if compiled and not version.is_compiled():
        return f"the tunproxy in {found} is not compiled (install a C compiler and run make build)"
    for source in (ROOT / "tunproxy").rglob("*.py"):
        copy = found / source.relative_to(ROOT / "tunproxy")
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            return f"{source.relative_to(ROOT)} differs from what is installed (run make build)"
    sys.path.append(str(ROOT))  # last: only for what test files share as ``tests.…``
    return ""
