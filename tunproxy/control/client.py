"""Asks a running tunproxy over its control socket."""

import http.client
import json
import socket
import urllib.parse
from pathlib import Path
from typing import Any, Final  # Any as the API's JSON has it

from tunproxy.control import endpoint
from tunproxy.control.endpoint import Found
from tunproxy.decide.question import Question
from tunproxy.errors import SystemChangeError, TunproxyError

# our choice: its supervisor loads the API for its first client, and gives its worker two seconds
PATIENCE: Final = 10.0
RELOAD_PATIENCE: Final = 150.0  # more than the supervisor has with its worker


class NotRunningError(TunproxyError):
    """Nobody is there who could be asked."""

    exit_code = 3


def choose(name: str = "", path: str = "", *, pid: int = 0) -> Found:
    """Return the control socket at path, or of the tunproxy called name, or of process pid, or the only one.

    Raises NotRunningError where there is none, TunproxyError where there are several, or it is forbidden.
    """
    found = [endpoint.look_at(Path(path))] if path else endpoint.find()
    alive = [each for each in found if each.state == endpoint.ALIVE and name in ("", each.name)]
    denied = [each for each in found if each.state == endpoint.DENIED and name in ("", each.name)]
    if pid:
        alive, denied = [each for each in alive if each.pid == pid], []
    if len(alive) == 1:
        return alive[0]
    if alive:
        which = ", ".join(f"{each.name} (process {each.pid})" for each in alive)
        raise TunproxyError(
            f"several tunproxy are running: {which} (choose one with --tun NAME, or --socket)"
        )
    if denied:
        raise SystemChangeError(f"cannot ask {denied[0].path}: permission denied (try as root: sudo)")
    if path:
        raise NotRunningError(
            f"no tunproxy listens at {path} (tunproxy status without --socket looks for one)"
        )
    called = f" called {name!r}" if name else f" with process id {pid}" if pid else ""
    raise NotRunningError(f"no tunproxy{called} is running (start one with tunproxy up, or tunproxy exec)")


def fetch_status(path: Path) -> dict[str, Any]:
    """Return the document of the tunproxy that listens at path. Raises TunproxyError."""
    return _ask(path, "GET", "/status", PATIENCE)


def ask_reload(path: Path) -> dict[str, Any]:
    """Have the tunproxy that listens at path read its configuration again; return how it went.

    Raises TunproxyError, also where the new policy cannot be used.
    """
    answer = _ask(path, "POST", "/reload", RELOAD_PATIENCE)
    if answer.get("is_reloaded") is not True:
        raise TunproxyError(f"the old policy stays: {answer.get('error')}")
    return answer


def fetch_explanation(path: Path, question: Question) -> dict[str, Any]:
    """Return why the tunproxy that listens at path would decide as it would. Raises TunproxyError."""
    query = urllib.parse.urlencode({"question": json.dumps(question.to_json())})
    return _record(_ask(path, "GET", f"/explain?{query}", PATIENCE))


def fetch_flow(path: Path, number: int) -> dict[str, Any]:
    """Return why a flow of the tunproxy that listens at path goes where it goes. Raises TunproxyError."""
    return _record(_ask(path, "GET", f"/flows/{number}/why", PATIENCE))


def fetch_flows(path: Path, limit: int, state: str = "") -> dict[str, Any]:
    """Return the flows of the tunproxy that listens at path, the newest first. Raises TunproxyError."""
    query = urllib.parse.urlencode({"limit": limit, "state": state})
    return _record(_ask(path, "GET", f"/flows?{query}", PATIENCE))


def _record(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise TunproxyError(str(answer["error"]))
    return answer


def _ask(path: Path, method: str, what: str, patience: float) -> dict[str, Any]:
    connection = _UnixConnection(path, patience)
    try:
        connection.request(method, what)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise TunproxyError(f"{path} answers {response.status} {response.reason}")
        document = json.loads(body)
    except TimeoutError:
        why = f"no answer in {patience:g} s (its process may be stopped)"
        raise TunproxyError(f"cannot ask {path}: {why}") from None
    except http.client.RemoteDisconnected as error:
        raise TunproxyError(f"cannot ask {path}: it hangs up without an answer") from error
    except http.client.HTTPException as error:
        raise TunproxyError(
            f"cannot ask {path}: what it answers is not HTTP (no tunproxy is there)"
        ) from error
    except OSError as error:
        raise TunproxyError(f"cannot ask {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise TunproxyError(f"{path} answers nonsense: {error}") from error
    finally:
        connection.close()
    if not isinstance(document, dict):
        raise TunproxyError(f"{path} answers nonsense: no object")
    return document


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path: Final = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
