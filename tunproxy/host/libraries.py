"""Modules that are loaded after a process has become somebody who may not look where they are.

Python is often in a home that others may not enter: /root/.pyenv, ~/.local/share/pipx. What is inside mostly
may be read by everybody; only the way there is barred. So the folders are opened as long as that is allowed,
and modules found through their descriptors later. Nothing else is reached so: who is in such a folder is
where the modules are, and ``..`` ends at the door that was barred before.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final


def keep_reachable(path: Sequence[str] | None = None) -> None:
    """Have modules in the folders of path, sys.path unless given, found as long as this process lives.

    Ask for it before rights are given up. Whoever may go where they are by himself still does.
    """
    sys.meta_path.append(OpenedFolders(sys.path if path is None else path))


class OpenedFolders(MetaPathFinder):
    """Finds modules in folders that it has opened, when nobody before it has found them."""

    def __init__(self, path: Sequence[str]) -> None:
        self._folders: Final[
            dict[str, str]
        ] = {}  # by the name that Python has for it, one that is still open
        for folder in path:
            if not os.path.isabs(folder):
                continue  # the folder we were started in, for one
            try:
                fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # a zip file, or not there
            self._folders[folder.rstrip("/")] = f"/proc/self/fd/{fd}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, as importlib asks for it; path is that of its package."""
        places = [place for entry in (sys.path if path is None else path) for place in self._opened(entry)]
        return PathFinder.find_spec(fullname, places, target) if places else None

    def _opened(self, entry: str) -> list[str]:
        """Return the way to a folder through a descriptor, if there is one."""
        for folder, opened in self._folders.items():
            if entry == folder or entry.startswith(f"{folder}/"):
                return [opened + entry[len(folder) :]]
        return []
