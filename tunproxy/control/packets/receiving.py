"""Who has asked for a capture: takes the file from a running tunproxy, whole blocks only.

It is ended over another connection, so that what is under way still comes, and the statistics after it.
"""

import contextlib
import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tunproxy.control.client import PATIENCE, UnixConnection
from tunproxy.control.packets.pcapng import DROPPED, PACKET, STATISTICS, Blocks, counts_of
from tunproxy.control.packets.service import NUMBER
from tunproxy.errors import TunproxyError

READ_OCTETS: Final = 256 << 10
LAST_SECONDS: Final = 10.0  # our choice: for what still comes after the end was asked for


class Receiving:
    """One capture of the tunproxy that listens at path; raises TunproxyError where it cannot begin."""

    def __init__(self, path: Path, wish: Mapping[str, str]) -> None:
        self._path: Final = path
        self._connection: Final = UnixConnection(path, PATIENCE)
        self.packets = 0
        self.lost = 0
        self.octets = 0
        self.is_whole = False  # the statistics have come
        try:
            self._connection.request("GET", f"/capture?{urllib.parse.urlencode(wish)}")
            self._socket = self._connection.sock  # of which the connection may let go
            self._response = self._connection.getresponse()
            if self._response.status != 200:
                raise TunproxyError(_why(self._response))
            number = self._response.headers.get(NUMBER, "")
            if not number.isdecimal():
                raise TunproxyError(f"{path} answers nonsense: no number of a capture")
            self.number = int(number)
            self._socket.settimeout(None)  # there may be nothing to tell for hours
        except TunproxyError:
            self._connection.close()
            raise
        except TimeoutError:
            self._connection.close()
            raise TunproxyError(f"cannot ask {path}: no answer in {PATIENCE:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise TunproxyError(f"cannot ask {path}: {why.lower()}") from error

    def blocks(self) -> Iterator[bytes]:
        """Yield portions of the file, each of whole blocks, until its end, or until tunproxy ends.

        Raises TunproxyError where what comes makes no sense.
        """
        cutter = Blocks()
        while True:
            try:
                data = self._response.read1(READ_OCTETS)
            except (OSError, http.client.HTTPException):
                return
            if not data:
                return
            try:
                found = list(cutter.feed(data))
            except ValueError as error:
                raise TunproxyError(f"{self._path} answers nonsense: {error}") from error
            for kind, octets in found:
                if kind == PACKET:
                    self.packets += 1
                elif kind == STATISTICS:
                    self.lost += counts_of(octets).get(DROPPED, 0)
                    self.is_whole = True
            whole = b"".join(octets for _, octets in found)
            self.octets += len(whole)
            yield whole

    def end(self) -> None:
        """Ask for the end; blocks yields what still comes. Never raises."""
        other = UnixConnection(self._path, LAST_SECONDS)
        try:
            other.request("DELETE", f"/captures/{self.number}")
            other.getresponse().read()
        except (OSError, http.client.HTTPException):  # it does not answer any more
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # what has come is what there is
        finally:
            other.close()

    def close(self) -> None:
        """Let go of it: the capture ends, if it has not."""
        self._response.close()
        self._connection.close()


def _why(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read(1 << 16))["error"])
    except (ValueError, KeyError, TypeError):
        return f"cannot capture: tunproxy answers {response.status} {response.reason} (is it an older one?)"
