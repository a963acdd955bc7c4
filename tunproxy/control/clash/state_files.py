"""What stays of the API from one run to the next: its secret, choices, and what dashboards store.

All of it is for its owner's eyes only. Where nothing can be kept, everything works as long as we run.
"""

import contextlib
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final  # Any: what JSON can say

import msgspec

from tunproxy.control.writing import write_private
from tunproxy.errors import SystemChangeError
from tunproxy.secret import Secret

SECRET: Final = "api-secret"
CHOICES: Final = "choices.json"
DASHBOARDS: Final = "dashboards.json"
MAX_FILE: Final = 16 << 20  # octets

_log: Final = logging.getLogger(__name__)


class StateFiles:
    """Files in a folder, which is made when it is needed; None for a folder keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder: Final = folder

    def secret(self) -> tuple[Secret, Path]:
        """Return the secret that was generated once, and its file. Raises SystemChangeError."""
        if self._folder is None:
            raise SystemChangeError("there is no folder for a secret (give one in [api])")
        path = self._folder / SECRET
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = path.read_text().strip()
            if found:
                path.chmod(0o600)
                return Secret(found), path
        made = secrets.token_urlsafe(32)
        try:
            self._write(path, f"{made}\n".encode())
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise SystemChangeError(f"cannot write {path}: {why} (give a secret in [api])") from error
        return Secret(made), path

    def choices(self) -> dict[str, str]:
        """Return the members of groups that were chosen, by the groups' names."""
        return {name: member for name, member in self._read(CHOICES).items() if isinstance(member, str)}

    def keep_choices(self, choices: Mapping[str, str]) -> None:
        """Keep them for the next run."""
        self._keep(CHOICES, choices)

    def dashboards(self) -> dict[str, Any]:
        """Return what dashboards have stored, by key."""
        return self._read(DASHBOARDS)

    def keep_dashboards(self, stored: Mapping[str, Any]) -> None:
        """Keep it for the next run."""
        self._keep(DASHBOARDS, stored)

    def _read(self, name: str) -> dict[str, Any]:
        if self._folder is None:
            return {}
        try:
            with open(self._folder / name, "rb") as file:
                found = msgspec.json.decode(file.read(MAX_FILE))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _keep(self, name: str, document: Mapping[str, Any]) -> None:
        if self._folder is None:
            return
        try:
            self._write(self._folder / name, msgspec.json.encode(document))
        except OSError as error:
            _log.warning("cannot keep %s: %s", self._folder / name, (error.strerror or str(error)).lower())

    def _write(self, path: Path, data: bytes) -> None:
        write_private(path, data, path.with_name(f"{path.name}.{os.getpid()}"), is_synced=False)
