"""The kernel's TCP against ours, with all that two of them can differ in, over good links and bad ones.

``--matrix-samples N`` plays N combinations instead of a few, beside each difference alone.
``--matrix-cell 'ipv4 mtu=1500 ...'`` plays one cell again; a cell that fails prints how.

What a stream must be is in ``exchange.py``, which cells there are in ``matrix.py``.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import matrix
from tests.interop.bad_link import BadLink, Passed
from tests.interop.exchange import ECN, Exchange
from tests.interop.matrix import OFFERS_ECN, Cell
from tests.system.lab import CLIENT_END, HOST_END, Lab, Options
from tests.system.namespace import Namespace

pytestmark = pytest.mark.timeout(120)

SAMPLES = 12
GRACE = 20.0  # seconds within which no connection may be left that has not ended
TIME_WAIT, LISTEN = "06", "0A"
# What the kernel of a client counts only where somebody has sent it what he must not have sent.
NEVER = (
    "InErrs", "InCsumErrors", "EstabResets", "AttemptFails", "IpInHdrErrors", "IpInAddrErrors",
    "IpInUnknownProtos", "IpReasmReqds", "IpReasmFails", "Ip6InHdrErrors", "Ip6InAddrErrors",
    "Ip6InUnknownProtos", "Ip6ReasmReqds", "Ip6ReasmFails", "TCPAbortOnData", "TCPAbortOnTimeout",
    "TCPAbortFailed", "EmbryonicRsts",
)  # fmt: skip
# What tunproxy drops in any lab: the kernel tells routers of its groups (RFC 3810) on every device.
ALWAYS = "unhandled-icmp"
# And where packets overtake each other: an acknowledgment that the very last one has overtaken is of no
# connection any more, and is reset (RFC 9293 §3.5.2). Over a good link that is so only with what one side has
# sent again because the other had no processor to answer within a few milliseconds (a tail loss probe): what
# that brings comes after the end. Each side counts what it sends again.
LATE = "no-flow"
ENOUGH = 600  # packets of which one in a hundred is met, by all likelihood


def options_of(mtu: int) -> Options:
    """Return the lab for one MTU; what IPv6 cannot do with, somebody else has set."""
    if mtu < matrix.IPV6_MTU:
        return Options(device_mtu=mtu, behind_router=True)
    return Options(mtu=mtu, behind_router=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return
    text = metafunc.config.getoption("--matrix-cell", default=None)
    count = metafunc.config.getoption("--matrix-samples", default=None)
    chosen = [matrix.parse_cell(text)] if text else matrix.cells(SAMPLES if count is None else count)
    labs = {cell.mtu: options_of(cell.mtu) for cell in chosen}  # one object each: pytest compares identity
    metafunc.parametrize(
        ("module_lab", "cell"),
        [(labs[cell.mtu], cell) for cell in chosen],
        indirect=["module_lab"],
        ids=[str(cell) for cell in chosen],
        scope="module",
    )


@pytest.fixture(scope="module")
def link(module_lab: Lab) -> Iterator[BadLink]:
    """The lab's bad link; the good one is made large enough, and SYNs are repeated as often as usual."""
    mtu = module_lab.options.device_mtu or module_lab.options.mtu
    for namespace, device in ((module_lab.client, CLIENT_END), (module_lab.host, HOST_END)):
        namespace.ip("link", "set", device, "mtu", str(max(mtu, 1500)))
        namespace.sysctl("net/ipv4/tcp_syn_retries", "6")
    bad = BadLink(module_lab, mtu)
    yield bad
    bad.close()


def test_streams_arrive_unaltered(lab: Lab, link: BadLink, cell: Cell) -> None:
    before, drops, sent_again = kernel_counters(lab.client), drops_of(lab), retransmits_of(lab)
    try:
        play(lab, link, cell)
        left = unfinished(lab.client)
        assert not left, f"connections that have not ended after {GRACE:.0f} s: {left}"
        after = kernel_counters(lab.client)
        wrong = complaints(before, after)
        assert not wrong, f"the client's kernel counted {wrong}"
        held = still_held(lab)
        assert not held, f"tunproxy still holds {held} after {GRACE:.0f} s"
        unexpected = drops_of(lab) - drops
        del unexpected[ALWAYS]
        late = unexpected.pop(LATE, 0)
        assert not unexpected, f"tunproxy has dropped {dict(unexpected)}"
        sent_again = retransmits_of(lab) - sent_again + after["RetransSegs"] - before["RetransSegs"]
        assert cell.loss or cell.reorder or late <= sent_again, (
            f"{late} came late, {sent_again} were sent again"
        )
    except Exception as error:
        raise AssertionError(
            f"{error!s}\nreplay: pytest tests/interop/test_kernel_matrix.py --matrix-cell '{cell}'"
        ) from error


def play(lab: Lab, link: BadLink, cell: Cell) -> None:
    """Carry the streams of one cell."""
    exchange = Exchange(lab, cell.lab_family, flows=cell.flows, size=cell.size, order=cell.order, cc=cell.cc)
    with contextlib.ExitStack() as stack:
        for key, value in cell.settings:
            stack.enter_context(lab.client.changed(f"net/ipv4/{key}", value))
        bad: list[Passed] = []
        if cell.is_faulty:
            how = {"loss": cell.loss, "reorder": cell.reorder, "mark": cell.mark, "seed": cell.seed}
            bad = stack.enter_context(link.carrying(**how))
        syns = kernel_counters(lab.client)["TCPSynRetrans"]
        exchange.run(cell.patience)
        syns = kernel_counters(lab.client)["TCPSynRetrans"] - syns
    agreed = exchange.agreed
    is_again = bool(cell.loss or syns)
    if is_again and cell.offered & ECN:  # a SYN that is sent again does not offer it (RFC 3168 §6.1.1.1)
        agreed = {each | ECN for each in agreed}
    assert agreed == {cell.offered}, "the handshake agreed otherwise"
    for passed in bad:
        assert passed.count, "nothing went over the bad link"
        if passed.count > ENOUGH:
            assert bool(passed.lost) == bool(cell.loss)
            assert bool(passed.overtaken) == bool(cell.reorder)
        if cell.mark and not is_again:  # else the only SYN that offered it may have been lost
            marked, reduced = (passed.marked_up, passed.marked_down), (passed.reduced_up, passed.reduced_down)
            assert all(marked), f"marked: {marked}"
            # Whoever has sent what was marked has heard of it, and says that it sends less.
            assert all(reduced), f"of {marked} marks {reduced} were answered"


def complaints(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return what the kernel has counted meanwhile and never should."""
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in (*NEVER, "TCPSYNChallenge")}
    # A SYN, ACK sent again because the ACK to it was lost, as it must be, is an error to the kernel; but
    # not in every state.
    grown["InErrs"] = max(0, grown["InErrs"] - grown.pop("TCPSYNChallenge"))
    return {name: count for name, count in grown.items() if count}


def kernel_counters(namespace: Namespace) -> dict[str, int]:
    """Return what the kernel has counted in a namespace; those of IP with Ip or Ip6 in front."""
    found: dict[str, int] = {}
    with namespace.entered():
        for name in ("snmp", "netstat"):
            lines = Path("/proc/thread-self/net", name).read_text().splitlines()
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                protocol = names.partition(":")[0]
                if protocol in ("Tcp", "TcpExt", "Ip"):
                    prefix = "Ip" if protocol == "Ip" else ""
                    pairs = zip(names.split()[1:], values.split()[1:], strict=True)
                    found.update({prefix + key: int(value) for key, value in pairs})
        for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines():
            key, value = line.split()
            if key.startswith("Ip6"):
                found[key] = int(value)
    return found


def unfinished(namespace: Namespace) -> list[str]:
    """Return the TCP connections that still have to end, after waiting for there to be none."""
    until = time.monotonic() + GRACE
    while True:
        left = []
        with namespace.entered():
            for name in ("tcp", "tcp6"):
                for line in Path("/proc/thread-self/net", name).read_text().splitlines()[1:]:
                    _, local, remote, state, queues = line.split()[:5]
                    if state not in (TIME_WAIT, LISTEN):
                        left.append(f"{local} to {remote} in state {int(state, 16)}, queues {queues}")
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.02)


def drops_of(lab: Lab) -> Counter[str]:
    """Return how many packets tunproxy has dropped so far, by reason."""
    return Counter() if lab.proxy is None else Counter(lab.proxy.status()["drops"])


def retransmits_of(lab: Lab) -> int:
    """Return how many segments tunproxy has sent again so far, on flows that are over."""
    return 0 if lab.proxy is None else int(lab.proxy.status()["counters"]["retransmits"])


def still_held(lab: Lab) -> dict[str, int]:
    """Return what tunproxy has that belongs to a TCP flow, after waiting for there to be nothing.

    What is left of a flow in TIME-WAIT is its own business; the octets of its streams are not.
    """
    until = time.monotonic() + GRACE
    while lab.proxy is not None:
        flows = lab.proxy.status()["flows"]
        found = {
            "flows": flows["tcp"] - flows["tcp_time_wait"],
            "embryos": flows["tcp_embryos"],
            "octets": flows["memory_bytes"],
        }
        if not any(found.values()) or time.monotonic() > until:
            return {name: count for name, count in found.items() if count}
        time.sleep(0.02)
    return {}


def test_name_of_a_cell_builds_it_again() -> None:
    for cell in matrix.cells(200):
        assert matrix.parse_cell(str(cell)) == cell


def test_cells_cover_what_they_are_meant_to_cover() -> None:
    found = matrix.cells(0)
    for name, values in (("mtu", matrix.MTUS), ("loss", matrix.LOSSES), ("reorder", matrix.REORDERS),
                         ("mark", matrix.MARKS), ("flows", matrix.FLOWS),
                         ("cc", matrix.congestion_controls())):  # fmt: skip
        assert {getattr(cell, name) for cell in found} == set(values)
    assert {setting for cell in found for setting in cell.settings} == set(matrix.settings())
    assert all(OFFERS_ECN in cell.settings for cell in matrix.cells(2000) if cell.mark)
