"""Print the manual page tunproxy(1), made from what the commands say of themselves: manpage.py > tunproxy.1

SOURCE_DATE_EPOCH is its date, where set: the same sources make the same page.
"""

import inspect
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any  # click's commands, which typer has under names of its own

import typer.main

from tunproxy.cli.main import app
from tunproxy.version import version

FILES = (
    ("~/.config/tunproxy/tunproxy.toml", "the configuration of a user, root's own included"),
    ("/etc/tunproxy/tunproxy.toml", "the configuration where there is none of those, and the service's"),
    ("~/.config/tunproxy/plugins/", "plugins, a file each; the service's: /etc/tunproxy/plugins/"),
    (
        "~/.local/state/tunproxy/",
        "what stays from one run to the next: generations, history, fake addresses, the secret of the API; "
        "the service's: /var/lib/tunproxy/",
    ),
    ("/run/tunproxy/NAME.sock", "the control socket of one that root has started"),
)
ENVIRONMENT = (
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "folders in place of ~/.config and ~/.local/state"),
    ("XDG_RUNTIME_DIR", "where the control socket of one is that somebody else than root has started"),
    ("NO_COLOR", "where it is set, nothing has a colour"),
)
EXIT = (
    ("0", "it has done what it was asked to"),
    ("1", "something was found, by a command that looks for it; or up could not keep a worker alive"),
    ("2", "what was given cannot be used, or the host does not let us; one line says what, why, what to do"),
    ("3", "there is no running tunproxy that could be asked"),
    ("4", "of service status: the service is not installed"),
)


def page() -> str:
    """Return the page in the language of man(7)."""
    when = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    root = typer.main.get_command(app)
    lines = [
        f'.TH TUNPROXY 1 "{time.strftime("%Y-%m-%d", when)}" "tunproxy {version()}" "User Commands"',
        ".SH NAME",
        f"tunproxy \\- {text((root.help or '').rstrip('.')[:1].lower() + (root.help or '').rstrip('.')[1:])}",
        ".SH SYNOPSIS",
        ".B tunproxy",
        "\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        "Packets of programs are routed into a TUN device, tunproxy makes connections and datagrams of them,",
        "decides by rules where each goes, and carries it there by sockets of its own.",
        "Programs need not know.",
        ".SH OPTIONS",
        *options(root),
        ".SH COMMANDS",
    ]
    for path, command in leaves(root, "tunproxy"):
        lines += section(path, command)
    lines.append(".SH FILES")
    for name, what in FILES:
        lines += [".TP", f".I {text(name)}", text(what)]
    lines.append(".SH ENVIRONMENT")
    for name, what in ENVIRONMENT:
        lines += [".TP", f".B {text(name)}", text(what)]
    lines.append(".SH EXIT STATUS")
    for code, what in EXIT:
        lines += [".TP", f".B {code}", text(what)]
    lines += [
        ".P",
        "The command exec ends as what it ran does, with 127 where there is no such command,",
        "126 where it cannot be run.",
        ".SH SEE ALSO",
        *see_also(),
    ]
    return "\n".join(lines) + "\n"


def leaves(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands below group that do something, with the words that call them."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from leaves(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def section(path: str, command: Any) -> list[str]:
    """Return what the page says of one command."""
    arguments = [each.metavar or each.name for each in command.params if each.param_type_name == "argument"]
    usage = " ".join(f"\\fI{text(piece)}\\fR" for piece in ["[OPTION]...", *arguments])
    lines = [f".SS {text(path)}", f"\\fB{text(path)}\\fR {usage}"]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [".P", text(" ".join(paragraph.split()))]
    return lines + options(command)


def options(command: Any) -> list[str]:
    """Return the arguments and options of a command that have something to be said about them."""
    lines: list[str] = []
    context = typer.Context(command)
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or not record[1]:
            continue
        if parameter.param_type_name == "argument":
            shown = f"\\fI{text(parameter.metavar or parameter.name)}\\fR"
        else:
            name, _, value = record[0].partition(" ")
            shown = f"\\fB{text(name)}\\fR" + (f" \\fI{text(value)}\\fR" if value else "")
        lines += [".TP", shown, text(" ".join(record[1].split()))]
    return lines


def see_also() -> list[str]:
    """Return references to other pages."""
    pages = (("ip", 8), ("ip-rule", 8), ("systemctl", 1), ("journalctl", 1))
    return [f".BR {text(name)} ({number})" + ("," if name != pages[-1][0] else "") for name, number in pages]


def text(words: str) -> str:
    """Return words so that troff takes them as they are, and programs can be copied from the page."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("~", "\\(ti")
    escaped = escaped.replace("^", "\\(ha").replace("…", "...")
    return re.sub(r"^([.'])", r"\\&\1", escaped)


if __name__ == "__main__":
    sys.stdout.write(page())
