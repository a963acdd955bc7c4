"""Secrets that stand elsewhere: ``{ env = "NAME" }`` and ``{ file = "PATH" }`` in place of a string."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from tunproxy.rulesets.files import read_up_to
from tunproxy.secret import Secret

MAX_SECRET: Final = 65_536  # octets; our choice: a key in PEM has a few thousand


class SecretError(Exception):
    """A secret cannot be had; says why."""


def is_reference(value: object) -> bool:
    """Return whether value says where a secret is: a table with the one key env or file."""
    return isinstance(value, Mapping) and len(value) == 1 and set(value) <= {"env", "file"}


def look_up(
    reference: Mapping[str, object],
    folder: Path,
    environment: Mapping[str, str],
    contents: MutableMapping[str, bytes] | None = None,
) -> Secret:
    """Return the secret, which is never empty. Line breaks at the end of a file are not part of it.

    A relative path counts from folder.

    contents has what files hold, by path: those that are in there are not read, those that are read come to
    be in there. Raises SecretError.
    """
    contents = {} if contents is None else contents
    ((kind, where),) = reference.items()
    if not isinstance(where, str) or not where:
        raise SecretError(f"{kind} wants the {'name of a variable' if kind == 'env' else 'path of a file'}")
    if kind == "env":
        if where not in environment:
            raise SecretError(f"there is no environment variable {where!r}")
        if not environment[where]:
            raise SecretError(f"environment variable {where!r} is empty")
        return Secret(environment[where])
    try:
        path = file_of(where, folder)
        data = contents.get(str(path))
        if data is None:
            data = read_up_to(path, MAX_SECRET + 1)
        if len(data) > MAX_SECRET:
            raise SecretError(f"{where} has more than {MAX_SECRET} octets")
        contents[str(path)] = data
        text = data.decode().rstrip("\r\n")
        if not text:
            raise SecretError(f"{where} is empty")
        return Secret(text)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SecretError(f"cannot read {where}: {why}") from error
    except UnicodeDecodeError as error:
        raise SecretError(f"{where} is not UTF-8") from error


def file_of(where: str, folder: Path) -> Path:
    """Return the path that a configuration in folder means; ``~`` is the home of whoever runs us."""
    return Path(os.path.normpath(folder / os.path.expanduser(where)))
