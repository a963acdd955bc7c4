"""The unit of the service, as text: the one that packages install, for a program that is elsewhere.

What is packaged calls ``/usr/bin/tunproxy``; the unit for another program, or with options of its own, is
made from it, so that both are the same in all else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tunproxy.errors import ConfigError

UNIT: Final = "tunproxy.service"
ACCOUNTS: Final = "tunproxy.sysusers"
PACKAGED_PROGRAM: Final = "/usr/bin/tunproxy"
MARK: Final = "# Written by `tunproxy service install`, which also replaces it.\n"

# systemd.syntax(7), "Quoting": these end a word, or mean something in one
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+=@[]")


def packaged(name: str) -> str:
    """Return the text of UNIT or ACCOUNTS: beside this file, or in a source tree from ``packaging``."""
    installed = Path(__file__).with_name(name)
    path = installed if installed.exists() else Path(__file__).parents[2] / "packaging" / name
    return path.read_text()


def unit_text(program: Sequence[str], options: Sequence[str] = ()) -> str:
    """Return the unit that runs program, words of a command line, with options for its ``up``.

    Raises ConfigError where systemd could not be told such words.
    """
    command = " ".join(map(quoted, program))
    if not program[0].startswith("/"):
        raise ConfigError(f"cannot write the unit: {program[0]} is no absolute path")
    lines: list[str] = []
    for line in packaged(UNIT).splitlines():
        key, equals, value = line.partition("=")
        if equals and PACKAGED_PROGRAM in value:
            value = value.replace(PACKAGED_PROGRAM, command, 1)
            if key == "ExecStart":
                value = " ".join([value, *map(quoted, options)])
            elif key == "ExecStartPre":
                value = " ".join([value, *map(quoted, for_check(options))])
        lines.append(key + equals + value)
    return MARK + "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """Return a word as a unit's command line has it, so that systemd makes of it what it is."""
    if any(ord(character) < 32 or ord(character) == 127 for character in word):
        raise ConfigError(f"cannot write the unit: {word!r} has control characters in it")
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return text if word and _PLAIN.issuperset(word) else f'"{text}"'


def for_check(options: Sequence[str]) -> list[str]:
    """Return those of the options of ``up`` that ``check`` takes as well: what decides, not what carries."""
    shared = ("--config", "--rules", "--upstream", "--plugin")
    found: list[str] = []
    words = iter(options)
    for word in words:
        name, equals, _ = word.partition("=")
        if name in shared:
            found.append(word)
            if not equals:
                found += [next(words, "")]
    return found
