"""The command ``tunproxy plugins``: which there are, what is wrong with them, and how to begin one.

What plugins contribute to the command line is found here, too; nothing is imported for it before somebody
asks for a command that is not ours.
"""

import contextlib
import errno
import importlib.util
import keyword
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tunproxy.cli import streams
from tunproxy.cli.arguments import show_as_written
from tunproxy.errors import ConfigError, TunproxyError

if TYPE_CHECKING:
    from tunproxy.plugin.contributions import Command
    from tunproxy.plugin.settings import PluginSettings

KEYS: Final = ("folder", "allow", "deny")  # of [plugins] itself
_OUTPUT: Final = streams.FULL | {errno.EPIPE}  # errors of standard output

app = typer.Typer(
    name="plugins",
    help="Show, examine, and write plugins.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Files = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A plugin in a file, loaded besides. Repeatable."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="DIR", help="Where drop-in plugins are; default: plugins in our settings."
    ),
]
Config = Annotated[
    str,
    typer.Option(
        "--config", metavar="FILE", help="Configuration; default: the one that would be used by tunproxy up."
    ),
]
Tun = Annotated[
    str, typer.Option("--tun", metavar="NAME", help="Which running tunproxy: its TUN device, or exec-PID.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything, for programs.")]


@app.command("list")
def list_plugins(
    plugin: Files = None,
    folder: Folder = None,
    config: Config = "",
    tun: Tun = "",
    json: AsJson = False,
) -> int:
    """Show the plugins that are found.

    Whether they would be loaded, and which hooks they have. Where a tunproxy is running, also which of them
    it has suspended for their faults. Exit code 1 means that one of them cannot be loaded.
    """
    from json import dumps

    rows = inventory(_settings(plugin, folder, config))
    suspended = _suspended_now(tun)
    for row in rows:
        row["suspended"] = suspended.get(row["name"], "") if row["loaded"] else ""
    if json:
        typer.echo(dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(_line(row))
            for hook in row["hooks"]:
                typer.echo(f"    {hook}")
    return 1 if any(row["problem"] for row in rows) else 0


@app.command("doctor")
def examine(plugin: Files = None, folder: Folder = None, config: Config = "", json: AsJson = False) -> int:
    """Say what is wrong with plugins.

    Each is imported in a process of its own. Exit code 1 means that something is wrong.
    """
    from json import dumps

    from tunproxy.plugin.discovery import find_plugins
    from tunproxy.plugin.doctor import as_document, diagnose

    settings = _settings(plugin, folder, config)
    found = diagnose(find_plugins(settings), settings)
    if json:
        typer.echo(dumps([as_document(each) for each in found], indent=2))
    else:
        for each in found:
            took = f", imported in {each.import_seconds * 1000:.0f} ms" if each.import_seconds >= 0 else ""
            typer.echo(f"{each.name} ({each.source}{took}): {each.problems[0] if each.problems else 'ok'}")
            for more in (*each.problems[1:], *each.remarks):
                typer.echo(f"    {more}")
    return 1 if any(each.problems for each in found) else 0


@app.command("new")
def write_new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What the plugin is to be called: lower case, digits, _."),
    ],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Where the folder NAME is made; default: here."),
    ] = None,
    drop_in: Annotated[
        bool, typer.Option("--drop-in", help="Write one file, and its test, into the folder of plugins.")
    ] = False,
    folder: Folder = None,
) -> int:
    """Write a plugin to begin with, and a test that passes."""
    from tunproxy.plugin.discovery import find_installed, is_plugin_file
    from tunproxy.plugin.settings import PluginSettings
    from tunproxy.plugin.template import write_drop_in, write_project

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise typer.BadParameter(f"{name!r} is not a name for a plugin (lower case, digits, _)")
    if keyword.iskeyword(name):
        raise typer.BadParameter(f"{name!r} is a word of Python's, no module can have it (choose another)")
    if name in {found.name for found in find_installed(PluginSettings())}:
        raise typer.BadParameter(f"{name!r} is the name of an installed plugin (choose another)")
    module = importlib.util.find_spec(name)
    if module is not None and module.origin is not None:
        # Tests find their own folder first: whoever imports that module there would get the plugin.
        raise typer.BadParameter(f"{name!r} is the name of another module (choose another)")
    if name in KEYS:
        raise typer.BadParameter(f"{name!r} is a key of [plugins], so it can have no table (choose another)")
    if not is_plugin_file(Path(f"{name}.py")):
        raise typer.BadParameter(f"{name!r} is a name for tests, no plugin would be found (choose another)")
    if drop_in and into is not None:
        raise typer.BadParameter("--into and --drop-in exclude each other")
    if drop_in:
        there = _settings(None, folder).folder
        if there is None:
            raise ConfigError("there is no folder of plugins: no home directory (use --folder)")
        paths = write_drop_in(name, there)
    else:
        paths = write_project(name, (into or Path()) / name)
    for path in paths:
        typer.echo(path)
    typer.echo(f"try it: python -m pytest {paths[-1]}")
    return 0


@app.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run_command(
    command: Annotated[str, typer.Argument(metavar="[COMMAND]", help="Default: name them all.")] = "",
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]...", help="What the command gets.")
    ] = None,
    plugin: Files = None,
    folder: Folder = None,
    config: Config = "",
) -> int:
    """Run a command of a plugin's.

    Without one, all are named.
    """
    commands = _load(_settings(plugin, folder, config)).commands()
    if not command:
        for name, each in sorted(commands.items()):
            typer.echo(f"{name}  {each.app.info.help or ''}".rstrip())
        if not commands:
            typer.echo("no plugin has a command", err=True)
        return 0
    if command not in commands:
        raise typer.BadParameter(
            f"no plugin has a command {command!r} (there are: {', '.join(sorted(commands)) or 'none'})"
        )
    code: Any = _command_of(commands[command]).main(  # Any: what the command returns
        args=arguments or [], prog_name=f"tunproxy plugins run {command}", standalone_mode=False
    )
    return code if isinstance(code, int) else 0


USUAL_ORDER: Final = (
    "exec", "up", "status", "flows", "top", "explain", "reload", "check", "rules", "convert", "plugins",
    "service",
)  # fmt: skip


class WithPlugins(TyperGroup):
    """Our commands, and behind them those of plugins; ours come first where names clash."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        show_as_written(self)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of our commands, what is used most first."""
        known = {name: at for at, name in enumerate(USUAL_ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: (known.get(name, len(known)), name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # Any: click's, which typer has under two names
        """Return the command of that name. Plugins are loaded only where it is none of ours."""
        found = super().get_command(ctx, cmd_name)
        if found is None and not cmd_name.startswith("-"):
            contributed = _load(_settings(None, None)).commands().get(cmd_name)
            if contributed is not None:
                found = _command_of(contributed)
        return found


def _command_of(contributed: "Command") -> Any:  # Any: click's, which typer has under two names
    """Return a plugin's command for click; what it raises by mistake is told in one line, with its place."""
    command: Any = typer.main.get_command(contributed.app)
    show_as_written(command)
    invoke = command.invoke

    def invoke_or_blame(context: object) -> object:
        try:
            return invoke(context)
        except (TunproxyError, typer.Exit, typer.Abort, MemoryError):
            raise
        except Exception as error:
            if hasattr(error, "format_message") or (isinstance(error, OSError) and error.errno in _OUTPUT):
                raise  # what the user has written wrong, and what is told in the same words of all commands
            from tunproxy.blame import failure, source_of

            callbacks = [each.callback for each in contributed.app.registered_commands]
            words = failure(error, source_of(callbacks[0]) if callbacks else "")
            raise TunproxyError(f"command {contributed.name!r} of a plugin failed: {words}") from error

    command.invoke = invoke_or_blame
    return command


def inventory(settings: "PluginSettings") -> list[dict[str, Any]]:
    """Return all plugins that are found, loaded into this process, as JSON has them."""
    from tunproxy.plugin.discovery import find_plugins

    with overheard():  # what is wrong is in the list
        plugins = _load(settings)
        plugins.rehearse()
    rows = []
    for found in find_plugins(settings):
        problem = plugins.problems.get(found.name, "")
        is_loaded = any(
            each.found is not None and each.found.source == found.source
            for each in plugins.loaded
            if each.name == found.name
        )
        rows.append(
            {
                "name": found.name,
                "kind": found.kind,
                "source": found.source,
                "priority": settings.entry(found.name).priority,
                "loaded": is_loaded,
                "left_out": found.why_not,
                "problem": problem,
                "hooks": plugins.hook_names(found.name) if is_loaded else [],
            }
        )
    return rows


def _suspended_now(tun: str) -> dict[str, str]:
    """Return what a running tunproxy says of the plugins that it does not ask, by name."""
    from tunproxy.control.client import choose, fetch_status
    from tunproxy.control.status import in_words

    try:
        found = choose(tun)
        document = fetch_status(found.path)
    except TunproxyError:  # none is running, or several, or it is somebody else's
        if tun:
            raise
        return {}
    told = document.get("plugins_suspended", {})
    return {name: f"{found.name} (process {found.pid}): {in_words(each)}" for name, each in told.items()}


@contextlib.contextmanager
def overheard() -> Iterator[list[str]]:
    """Yield what is logged of plugins meanwhile, line by line: whoever asks tells it in his own way."""
    logger = logging.getLogger("tunproxy.plugin")
    lines: list[str] = []
    listener = _Listener(lines)
    before = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.propagate = before
        logger.removeHandler(listener)


class _Listener(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _load(settings: "PluginSettings") -> Any:  # Any: Plugins, imported late
    from tunproxy.plugin.manager import Plugins

    plugins = Plugins(settings)
    plugins.load_all()
    return plugins


def _settings(files: list[Path] | None, folder: Path | None, config: str = "") -> "PluginSettings":
    from dataclasses import replace

    from tunproxy.control.config.sources import plugin_settings
    from tunproxy.control.settings import PolicyOptions

    settings = plugin_settings(PolicyOptions(config=config, plugins=tuple(map(str, files or ()))))
    return replace(settings, folder=folder) if folder is not None else settings


def _line(row: dict[str, Any]) -> str:
    state = row["problem"] or row["left_out"] or "loaded"
    priority = f", priority {row['priority']}" if row["priority"] else ""
    suspended = f", but {row['suspended']}" if row["suspended"] else ""
    return f"{row['name']} ({row['kind']}: {row['source']}{priority}): {state}{suspended}"
