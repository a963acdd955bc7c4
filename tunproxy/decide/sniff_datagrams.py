"""What the first datagrams of a flow tell of the host that the client means."""

from tunproxy.decide.sniff_quic import QuicReader, is_quic_initial
from tunproxy.decide.sniffing import MORE, NOTHING, Sniffed, clean_name


class DatagramSniffer:
    """Reads the first datagrams of one UDP flow, over several of which a QUIC ClientHello may be spread."""

    def __init__(self) -> None:
        self._quic: QuicReader | None = None

    def sniff(self, datagram: bytes) -> Sniffed:
        """Take the next datagram of the client's; return what all of them tell."""
        if self._quic is None:
            if not is_quic_initial(datagram):
                return NOTHING
            self._quic = QuicReader(datagram)
        found = self._quic.read(datagram)
        if found is None:
            return MORE
        name = clean_name(found)
        return Sniffed(name, "quic") if name else NOTHING
