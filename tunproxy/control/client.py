"""Asks a running tunproxy over its control socket."""

import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final  # Any as the API's JSON has it

from tunproxy.control import endpoint
from tunproxy.control.endpoint import Found
from tunproxy.decide.question import Question
from tunproxy.errors import SystemChangeError, TunproxyError

EXEC_NAMES: Final = "exec-"  # how those of ``exec`` are called

# our choices, in seconds: the supervisor loads the API for its first client, and gives its worker two
PATIENCE: Final = 10.0
RELOAD_PATIENCE: Final = 150.0  # more than the supervisor has with its worker
DIFF_PATIENCE: Final = 60.0  # large files take a while to compare

MOST_IDS: Final = 10_000  # in one request, which may have 2 MiB


class NotRunningError(TunproxyError):
    """Nobody is there who could be asked."""

    exit_code = 3


def choose(name: str = "", path: str = "", *, pid: int = 0, serves_host: bool = False) -> Found:
    """Return the control socket at path, or of the tunproxy called name, or of process pid, or the only one.

    serves_host: of those nobody has named, only an ``up`` is meant. Raises NotRunningError where there is
    none, TunproxyError where there are several, or it is forbidden.
    """
    found = [endpoint.look_at(Path(path))] if path else endpoint.find()
    if serves_host and not (name or path):
        found = [each for each in found if not each.name.startswith(EXEC_NAMES)]
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
        advice = f"try as root: sudo{endpoint.or_group(denied[0].path)}"
        raise SystemChangeError(f"cannot ask {denied[0].path}: permission denied ({advice})")
    if path:
        raise NotRunningError(
            f"no tunproxy listens at {path} (tunproxy status without --socket looks for one)"
        )
    called = f" called {name!r}" if name else f" with process id {pid}" if pid else ""
    raise NotRunningError(f"no tunproxy{called} is running (start one with tunproxy up, or tunproxy exec)")


def fetch_status(path: Path) -> dict[str, Any]:
    """Return the document of the tunproxy that listens at path. Raises TunproxyError."""
    return _ask(path, "GET", "/status", PATIENCE)


def ask_reload(path: Path, confirm: float = 0) -> dict[str, Any]:
    """Have the tunproxy that listens at path read its configuration again; return how it went.

    What ran before is put back after confirm seconds, unless somebody confirms. Raises TunproxyError, also
    where the new policy cannot be used.
    """
    what = f"/reload?confirm={confirm:g}" if confirm else "/reload"
    answer = _ask(path, "POST", what, RELOAD_PATIENCE)
    if answer.get("is_reloaded") is not True:
        raise TunproxyError(f"the old policy stays: {answer.get('error')}")
    return answer


def fetch_generations(path: Path) -> dict[str, Any]:
    """Return what the tunproxy that listens at path has applied. Raises TunproxyError."""
    return _record(_ask(path, "GET", "/generations", PATIENCE))


def fetch_diff(path: Path, old: str, new: str, *, with_secrets: bool) -> dict[str, Any]:
    """Return what is other between two generations, or what runs, or the files. Raises TunproxyError."""
    query = urllib.parse.urlencode({"old": old, "new": new, "secrets": int(with_secrets)})
    return _record(_ask(path, "GET", f"/generations/diff?{query}", DIFF_PATIENCE))


def ask_undo(path: Path, number: int, *, keep_files: bool) -> dict[str, Any]:
    """Have the tunproxy that listens at path go back to a generation; return what was done.

    number 0 leaves the choice to it. Raises TunproxyError.
    """
    query = urllib.parse.urlencode({"number": number or "", "keep_files": int(keep_files)})
    return _record(_ask(path, "POST", f"/generations/undo?{query}", RELOAD_PATIENCE))


def ask_confirm(path: Path) -> dict[str, Any]:
    """Have what runs stay; return which generation that is. Raises TunproxyError."""
    return _record(_ask(path, "POST", "/generations/confirm", PATIENCE))


def fetch_explanation(path: Path, question: Question) -> dict[str, Any]:
    """Return why the tunproxy that listens at path would decide as it would. Raises TunproxyError."""
    query = urllib.parse.urlencode({"question": json.dumps(question.to_json())})
    return _record(_ask(path, "GET", f"/explain?{query}", PATIENCE))


def fetch_dashboard(path: Path) -> str:
    """Return where the dashboard of the tunproxy that listens at path is, with its secret.

    Raises TunproxyError, also where it has none.
    """
    return str(_record(_ask(path, "GET", "/dashboard", PATIENCE))["url"])


def fetch_flow(path: Path, number: int) -> dict[str, Any]:
    """Return why a flow of the tunproxy that listens at path goes where it goes. Raises TunproxyError."""
    return _record(_ask(path, "GET", f"/flows/{number}/why", PATIENCE))


def fetch_flows(path: Path, limit: int, state: str = "") -> dict[str, Any]:
    """Return the flows of the tunproxy that listens at path, the newest first. Raises TunproxyError."""
    query = urllib.parse.urlencode({"limit": limit, "state": state})
    return _record(_ask(path, "GET", f"/flows?{query}", PATIENCE))


def follow_flows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the flows of the tunproxy that listens at path as they begin, open and end, until it ends.

    Raises TunproxyError.
    """
    try:
        yield from _stream(path, "/flows/follow", None)  # there may be nothing to tell for hours
    except NotRunningError:
        return  # it has ended


def watch_flows(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what is new of all flows of the tunproxy that listens at path, every so many seconds.

    The objects are those of ``GET /flows/watch``. Raises TunproxyError; NotRunningError where it has ended.
    """
    what = f"/flows/watch?interval={round(seconds * 1000)}"
    yield from _stream(path, what, PATIENCE + seconds)


def end_flows(path: Path, ids: Sequence[str]) -> int:
    """End flows of the tunproxy that listens at path; return how many it were. Raises TunproxyError."""
    ended = 0
    for start in range(0, len(ids), MOST_IDS):
        body = json.dumps({"ids": list(ids[start : start + MOST_IDS])})
        ended += int(_ask(path, "POST", "/flows/end", PATIENCE, body)["ended"])
    return ended


def _stream(path: Path, what: str, patience: float | None) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream; patience is for each in seconds, None for all that there is."""
    connection = UnixConnection(path, PATIENCE)
    try:
        response = _response(connection, path, "GET", what)
        connection.sock.settimeout(patience)
        for line in response:
            found = json.loads(line)
            if isinstance(found, dict):
                yield found
    except TimeoutError:
        waited = PATIENCE if patience is None else patience
        raise TunproxyError(f"cannot ask {path}: no answer in {waited:g} s") from None
    except (http.client.HTTPException, ConnectionError):
        pass
    except OSError as error:
        raise TunproxyError(f"cannot ask {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise TunproxyError(f"{path} answers nonsense: {error}") from error
    finally:
        connection.close()
    raise NotRunningError("tunproxy has ended")


def _record(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, unless it says why it is none."""
    if "error" in answer:
        raise TunproxyError(str(answer["error"]))
    return answer


def _ask(path: Path, method: str, what: str, patience: float, body: str | None = None) -> dict[str, Any]:
    connection = UnixConnection(path, patience)
    try:
        document = json.loads(_response(connection, path, method, what, body).read())
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


def _response(
    connection: "UnixConnection", path: Path, method: str, what: str, body: str | None = None
) -> http.client.HTTPResponse:
    """Return the answer to a request, not yet read. Raises TunproxyError where it is none that we want."""
    connection.request(method, what, body)
    response = connection.getresponse()
    if response.status != 200:
        raise TunproxyError(f"{path} answers {response.status} {response.reason}")
    return response


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path: Final = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
