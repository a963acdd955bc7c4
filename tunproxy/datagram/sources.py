"""Who sent a datagram that came through a proxy, as the client knows him.

The octets of its header are looked up among those that were seen before: one slice, one look-up. A header
that is new is read once. Where the client's target stands for a name, the proxy answers from the address that
it found for it, which nobody here has ever heard: the first stranger with the port of a name that waits for
an answer is taken for it. So only one name for each port may wait, or nobody could tell the answers.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.path import Path
from tunproxy.datagram.receiver import Receiver
from tunproxy.flow.counters import Counters
from tunproxy.flow.framing import CUT_OFF, MAX_HEADER, UNKNOWN, Framing, Source
from tunproxy.flow.targets import is_martian_target, is_multicast
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.reasons import FRAGMENT, MARTIAN_SOURCE, NO_FLOW, TRUNCATED

# our choice
MAX_SOURCES: Final = 1024  # of one way; the oldest is forgotten, and read again when it comes back


@final
@mypyc_attr(native_class=True)
class Sources:
    """known holds the ends of the frames that answer, by header; found is what the last search found."""

    def __init__(self, client: bytes, client_port: i64, counters: Counters) -> None:
        self.known: Final[dict[bytes, Endpoints]] = {}
        self.found: Endpoints | None = None
        self.payload_off: i64 = 0  # of the last quote
        self._client: Final = client
        self._client_port: Final = client_port
        self._counters: Final = counters
        self._named: Final[dict[int, Endpoints]] = {}  # the last target by name of each port
        self._unanswered: Final[dict[int, bool]] = {}  # those of them that nobody has answered for

    def takes(self, port: i64, host: str, target: bytes) -> bool:
        """Tell whether answers of host, "" for a target that is an address, could be told from others."""
        bare = self.known.get(b"")
        if bare is not None:  # no header tells targets apart
            return bare.source == target and bare.source_port == port
        if host == "" or int(port) not in self._unanswered:
            return True
        named = self._named.get(int(port))
        return named is None or named.source == target

    def expect(self, path: Path) -> None:
        """Take note that the client is about to write to the target of path."""
        if path.host != "":
            port = int(path.ends.source_port)
            named = self._named.get(port)
            if named is None or named.source != path.ends.source:
                self._named[port] = path.ends
                self._unanswered[port] = True

    def learn(self, header: bytes, ends: Endpoints) -> None:
        """Take note that datagrams behind this header are answered by frames with these ends."""
        if len(self.known) >= MAX_SOURCES:
            del self.known[next(iter(self.known))]
        self.known[header] = ends

    def find(self, framing: Framing, receiver: Receiver, index: i64, at: i64, end: i64) -> i64:
        """Look who sent octets at to end of datagram index; return the length of its header.

        found is None, which is counted, for what has to be dropped.
        """
        return self.find_in(framing, bytes(receiver.payload(index, at, min(end, at + MAX_HEADER))))

    def find_in(self, framing: Framing, head: bytes) -> i64:
        """Do the same for a datagram, or its first MAX_HEADER octets."""
        off = framing.payload_off(head)
        if off < 0:
            self.found = None
            if off == CUT_OFF:
                self._counters.drop(TRUNCATED)
            else:
                self._counters.drop(NO_FLOW if off == UNKNOWN else FRAGMENT)
            return off
        header = head[:off]
        found = self.known.get(header)
        if found is None:
            found = self._read(framing.source_of(header), header)
        self.found = found
        return off

    def of_quote(self, framing: Framing, quote: bytes) -> Endpoints | None:
        """Return whom a datagram that we sent, or its beginning, was for; payload_off is its header's end."""
        off = framing.payload_off(quote)
        self.payload_off = off
        return self.known.get(quote[:off]) if off >= 0 else None

    def _read(self, source: Source | None, header: bytes) -> Endpoints | None:
        """Return who is meant by a header that is new; None, counted, for nobody."""
        if source is None:
            self._counters.drop(NO_FLOW)
            return None
        address = source.address
        ends = self._named.get(int(source.port))
        if ends is None:
            if len(address) != len(self._client):
                self._counters.drop(NO_FLOW)
                return None
            if is_martian_target(address) or is_multicast(address):  # nobody out there
                self._counters.drop(MARTIAN_SOURCE)
                return None
            ends = Endpoints(address, self._client, source.port, self._client_port, UDP)
        else:
            self._unanswered.pop(int(source.port), None)
        self.learn(header, ends)
        return ends
