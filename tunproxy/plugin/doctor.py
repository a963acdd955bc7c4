"""Examines plugins one by one, each imported in a process of its own: what is wrong, and how long it takes.

``python -m tunproxy.plugin.doctor`` is that process: it reads one JSON document, a list of what there is to
import, and writes one that says what came of it.
"""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tunproxy.plugin.discovery import Found, find_file, find_installed
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.settings import PluginEntry, PluginSettings
from tunproxy.secret import Secret

# our choices
TIME_LIMIT: Final = 30.0  # seconds for one plugin
SLOW_IMPORT: Final = 1.0  # seconds: the start takes so much longer


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one plugin. import_seconds is -1 where it did not come to an end."""

    name: str
    kind: str
    source: str
    hooks: tuple[str, ...] = ()
    import_seconds: float = -1.0
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def diagnose(
    found: Iterable[Found], settings: PluginSettings | None = None, *, time_limit: float = TIME_LIMIT
) -> list[Diagnosis]:
    """Examine each plugin in a process of its own, one after the other; those left out are only named."""
    return [_diagnose(each, settings or PluginSettings(), time_limit) for each in found]


def examine(name: str, path: str, group: str, options: dict[str, object]) -> dict[str, Any]:
    """Import a plugin into this process and return what a Diagnosis has, as far as it got."""
    settings = PluginSettings(plugins={name: PluginEntry(options=options)})
    plugins = Plugins(settings)
    found = find_file(Path(path)) if path else _installed(name, group, settings)
    started = time.perf_counter()
    is_loaded = plugins.load(found)
    took = time.perf_counter() - started
    hooks = plugins.hook_names(name) if is_loaded else []
    if is_loaded:
        plugins.rehearse()
        plugins.commands()
        plugins.routes()
    return {"hooks": hooks, "import_seconds": round(took, 4), "problems": plugins.complaints(name)}


def main() -> None:
    """Examine what standard input says; whatever the plugin prints stays out of the answer."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        answer = examine(**request)
    print(json.dumps(answer))


def as_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis as JSON has it."""
    return asdict(diagnosis)


def _diagnose(found: Found, settings: PluginSettings, time_limit: float) -> Diagnosis:
    known = (found.name, found.kind, found.source)
    if found.why_not:
        return Diagnosis(*known, remarks=(found.why_not,))
    request = {
        "name": found.name,
        "path": str(found.path or ""),
        "group": found.group,
        "options": settings.entry(found.name).options,
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "tunproxy.plugin.doctor"],
            input=json.dumps(request, default=_plain),
            capture_output=True,
            text=True,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Diagnosis(*known, problems=(f"is not imported after {time_limit:g} s",))
    try:
        answer = json.loads(ended.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = ended.stderr.strip().splitlines()[-1:] or ["no word"]
        return Diagnosis(*known, problems=(f"ended the process ({ended.returncode}): {last[0]}",))
    remarks = []
    if answer["import_seconds"] > SLOW_IMPORT:
        remarks.append(f"takes {answer['import_seconds']:.1f} s to import")
    if not answer["hooks"] and not answer["problems"]:
        remarks.append("implements no hook (is @hookimpl missing?)")
    return Diagnosis(
        *known,
        hooks=tuple(answer["hooks"]),
        import_seconds=answer["import_seconds"],
        problems=tuple(answer["problems"]),
        remarks=tuple(remarks),
    )


def _plain(value: object) -> object:
    """Return what JSON can say of an option. A secret goes through a pipe to a process of ours, as it is."""
    if isinstance(value, Mapping):
        return dict(value)
    return value.reveal() if isinstance(value, Secret) else str(value)


def _installed(name: str, group: str, settings: PluginSettings) -> Found:
    return next(found for found in find_installed(settings, group) if found.name == name)


if __name__ == "__main__":
    main()
