"""What a worker is told when it is started."""

import socket
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_pton

from tunproxy.control.config.sources import Sources
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.settings import MEMORY_DEFAULT
from tunproxy.device.tun import TunDevice
from tunproxy.errors import ConfigError
from tunproxy.flow.targets import Targets


@dataclass(frozen=True)
class AddressMap:
    """One address that means another: (address, port) as the client writes it, and what is dialled.

    port 0 stands for every port, to_port 0 for the same port.
    """

    address: str
    port: int
    to_address: str
    to_port: int


@dataclass(frozen=True)
class WorkerSettings:
    """What one worker needs to know. udp_timeout is in seconds; mark 0 and interface "" mean none.

    questions is where the supervisor asks what happens (see ``questions``). sources are what the policy is
    made from; None for the built-in configuration. resolvers are the host's, as they were before us.
    Which process a flow is of is asked over owners (see ``owners``), or else found out by diagnosis, a
    netlink socket of the clients' network namespace (``host.sock_diag``); without both nobody knows.
    It is worker number of so many workers, from 0 on, and restarts of them have had its place before it.
    generation is that of its first policy. is_steered: the kernel knows which packets are whose
    (``loop.sharing``); inbox and outboxes are for what workers tell each other (``neighbours``).
    serves_others: what the host forwards is captured, too.
    wishes are what somebody has chosen; the supervisor's own, which a worker that begins has a copy of.
    """

    device: TunDevice
    mtu: int = 1500
    mark: int = 0
    bind_interface: str = ""
    udp_timeout: float = 300.0
    memory: int = MEMORY_DEFAULT
    address_maps: tuple[AddressMap, ...] = ()
    questions: socket.socket | None = None
    sources: Sources | None = None
    resolvers: tuple[str, ...] = ()
    owners: socket.socket | None = None
    diagnosis: int = -1
    number: int = 0
    workers: int = 1
    restarts: int = 0
    generation: int = 1
    is_steered: bool = False
    inbox: socket.socket | None = None
    outboxes: tuple[socket.socket, ...] = ()
    serves_others: bool = False
    wishes: Wishes = field(default_factory=Wishes)

    def held(self) -> set[int]:
        """Return the descriptors that are in here."""
        sockets = (self.questions, self.owners, self.inbox, *self.outboxes)
        found = {self.device.fd, self.diagnosis, *(each.fileno() for each in sockets if each is not None)}
        return found - {-1}


def targets_of(maps: tuple[AddressMap, ...]) -> Targets:
    """Return what targets mean by these maps; raises ConfigError for what is no address."""
    found = {}
    for entry in maps:
        try:
            packed = inet_pton(AF_INET6 if ":" in entry.address else AF_INET, entry.address)
        except OSError as error:
            raise ConfigError(f"cannot map {entry.address!r}: not an IP address") from error
        found[packed, entry.port] = (entry.to_address, entry.to_port)
    return Targets(found)
