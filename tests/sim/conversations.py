"""Conversations with a kernel's TCP that ``record`` records once and ``test_recorded`` replays for ever.

Each says what the kernel's application does, what ours does, and what the path between them is like. The
kernel is 10.0.0.2 or fd00::2; we are a host behind its TUN device.
"""

from dataclasses import dataclass, field

from tests.sim.apps import AT_END, WHEN_DONE, WHEN_SENT, AppPlan
from tests.sim.link import LinkPlan
from tests.sim.scenarios import CONTENT, MILLI, SECOND

SMALL = 536 + 40  # an MTU at which few octets are many segments
GOOD = LinkPlan(delay=2 * MILLI)
OPTIONS = ("tcp_sack", "tcp_timestamps", "tcp_window_scaling")

# What a kernel's application does, in order:
#   ("send", octets) ("receive", octets) ("wait", seconds) ("urgent", octets) ("option", level, name, value)
#   ("end",) a FIN; ("read",) everything up to the other's FIN; ("reset",); ("close",), with what is unread
Step = tuple[str | int | float | bytes, ...]


@dataclass(frozen=True)
class Conversation:
    """One conversation; sysctls are names below net/ipv4. up and down are the links to us and from us."""

    kernel: tuple[Step, ...]
    ours: AppPlan
    up: LinkPlan = GOOD
    down: LinkPlan = GOOD
    sysctls: dict[str, str] = field(default_factory=dict)
    early: tuple[Step, ...] = ()  # options that are set before the kernel's socket connects or listens
    ipv6: bool = False
    mtu: int = 1500
    rcv_buf: int = 1 << 16
    kernel_listens: bool = False
    answer_after: int = 0
    refuses: bool = False
    seed: int = 1

    @property
    def keeps_whole(self) -> bool:
        """Whether super-packets pass as they are."""
        return self.up.keeps_whole


def plan(sends: int = 0, expects: int = 0, *, after: int = 0, closes: int = AT_END, **more: int) -> AppPlan:
    """Return what our application does; it sends when it has received so many octets."""
    return AppPlan(
        CONTENT[7 : 7 + sends], CONTENT[:expects], ((after, sends),), closes=closes, write_size=8000, **more
    )


def link(mtu: int = 1500, **how: object) -> LinkPlan:
    return LinkPlan(mtu=mtu, **({"delay": 4 * MILLI} | how))  # type: ignore[arg-type]


def up(octets: int) -> tuple[Step, ...]:
    return ("send", octets), ("end",), ("read",)


def down(octets: int) -> tuple[Step, ...]:
    return ("receive", octets), ("read",), ("end",)


def both(octets: int, back: int) -> tuple[Step, ...]:
    return ("send", octets), ("receive", back), ("end",), ("read",)


def bad(**how: object) -> dict[str, LinkPlan]:
    """Return links both ways that do this to packets of a small MTU."""
    return {"up": link(SMALL, **how), "down": link(SMALL, **how)}


BULK = {"kernel": both(5000, 16_000), "ours": plan(16_000, 5000), "mtu": SMALL}
ALL: dict[str, Conversation] = {
    "up": Conversation(up(6000), plan(0, 6000)),
    "down": Conversation(down(40_000), plan(40_000, closes=WHEN_SENT)),
    "both": Conversation(both(6000, 20_000), plan(20_000, 6000)),
    "no-sack": Conversation(**BULK, **bad(loss=0.05), sysctls={"tcp_sack": "0"}, seed=3),  # type: ignore[arg-type]
    "no-timestamps": Conversation(**BULK, **bad(loss=0.05), sysctls={"tcp_timestamps": "0"}, seed=4),  # type: ignore[arg-type]
    "no-scaling": Conversation(**BULK, **bad(loss=0.03), sysctls={"tcp_window_scaling": "0"}, seed=5),  # type: ignore[arg-type]
    "no-options": Conversation(
        **BULK,  # type: ignore[arg-type]
        **bad(loss=0.05),
        sysctls=dict.fromkeys(OPTIONS, "0"),
        seed=6,
    ),
    "reno": Conversation(**BULK, **bad(loss=0.05), sysctls={"tcp_congestion_control": "reno"}, seed=7),  # type: ignore[arg-type]
    "loss": Conversation(**BULK, **bad(loss=0.1), seed=8),  # type: ignore[arg-type]
    "loss-ipv6": Conversation(
        both(6000, 20_000),
        plan(20_000, 6000),
        up=link(1280, loss=0.1),
        down=link(1280, loss=0.1),
        ipv6=True,
        mtu=1280,
        seed=9,
    ),
    "reordering": Conversation(**BULK, **bad(reordering=0.2), seed=10),  # type: ignore[arg-type]
    "duplication": Conversation(**BULK, **bad(duplication=0.3), seed=11),  # type: ignore[arg-type]
    "corruption": Conversation(**BULK, **bad(corruption=0.08), seed=12),  # type: ignore[arg-type]
    "everything": Conversation(
        **BULK,  # type: ignore[arg-type]
        **bad(loss=0.04, reordering=0.1, duplication=0.1, corruption=0.02, jitter=6 * MILLI),
        seed=13,
    ),
    "narrow": Conversation(**BULK, **bad(rate=60_000, queue=4000), seed=14),  # type: ignore[arg-type]
    "outage": Conversation(**BULK, **bad(outages=((SECOND + 30 * MILLI, SECOND + 700 * MILLI),)), seed=15),  # type: ignore[arg-type]
    "first-packets-lost": Conversation(
        **BULK,  # type: ignore[arg-type]
        **bad(outages=((0, SECOND + 500 * MILLI),)),
        seed=16,
    ),
    "our-window-closes": Conversation(
        up(10_000),
        plan(0, 10_000, read_size=1500, read_every=150 * MILLI, read_from=600 * MILLI),
        rcv_buf=4096,
    ),
    "kernel-window-closes": Conversation(
        (("wait", 1.2), ("receive", 30_000), ("read",), ("end",)),
        plan(30_000, closes=WHEN_SENT),
        early=(("option", "SO_RCVBUF", 4096),),
    ),
    "kernel-half-closes": Conversation(
        (("send", 3000), ("end",), ("wait", 0.2), ("read",)), plan(20_000, 3000, after=3000)
    ),
    "we-half-close": Conversation(
        (("read",), ("send", 5000), ("wait", 0.1), ("send", 4000), ("end",)),
        plan(6000, 9000, closes=WHEN_SENT),
    ),
    "both-close-at-once": Conversation(
        (("send", 500), ("end",), ("read",)),
        plan(500, 500, closes=WHEN_SENT),
        up=link(delay=60 * MILLI),
        down=link(delay=60 * MILLI),
    ),
    "kernel-resets": Conversation((("send", 4000), ("wait", 0.1), ("reset",)), plan(0, 4000)),
    "kernel-resets-unread": Conversation((("wait", 0.3), ("close",)), plan(20_000)),
    "we-reset": Conversation((("send", 2000), ("read",)), plan(0, 2000, abort_at=300 * MILLI)),
    "we-refuse": Conversation((("read",),), plan(), refuses=True, answer_after=20 * MILLI),
    "late-answer": Conversation(both(1000, 1000), plan(1000, 1000), answer_after=1300 * MILLI),
    "keepalive": Conversation(
        (("send", 100), ("wait", 3.5), ("send", 100), ("end",), ("read",)),
        plan(0, 200),
        early=(
            ("option", "SO_KEEPALIVE", 1),
            ("option", "TCP_KEEPIDLE", 1),
            ("option", "TCP_KEEPINTVL", 1),
        ),
    ),
    "dialogue": Conversation(
        (*(("send", 120), ("receive", 700)) * 8, ("end",), ("read",)),
        AppPlan(
            CONTENT[7 : 7 + 5600],
            CONTENT[:960],
            tuple((120 * turn, 700 * turn) for turn in range(9)),
            closes=AT_END,
        ),
        early=(("option", "TCP_NODELAY", 1),),
    ),
    "small-writes": Conversation(
        (*(("send", 30),) * 60, ("end",), ("read",)),
        plan(0, 1800),
        **bad(loss=0.05),  # type: ignore[arg-type]
        mtu=SMALL,
        early=(("option", "TCP_NODELAY", 1),),
        seed=17,
    ),
    "urgent": Conversation((("send", 500), ("urgent", 1), ("send", 500), ("end",), ("read",)), plan(0, 1001)),
    "ecn": Conversation(both(5000, 9000), plan(9000, 5000), sysctls={"tcp_ecn": "1"}),
    "mtu-9000": Conversation(
        both(9000, 60_000), plan(60_000, 9000), mtu=9000, up=link(9000), down=link(9000)
    ),
    "super-packets": Conversation(
        both(9000, 60_000), plan(60_000, 9000), up=link(keeps_whole=True), down=link(keeps_whole=True)
    ),
    "super-packets-ipv6": Conversation(
        both(9000, 60_000),
        plan(60_000, 9000),
        up=link(keeps_whole=True, loss=0.1),
        down=link(keeps_whole=True, loss=0.1),
        ipv6=True,
        seed=18,
    ),
    "kernel-listens": Conversation(
        both(5000, 20_000), plan(20_000, 5000, closes=WHEN_DONE), kernel_listens=True
    ),
    "kernel-listens-loss": Conversation(
        **(BULK | {"ours": plan(16_000, 5000, closes=WHEN_DONE)}),  # type: ignore[arg-type]
        **bad(loss=0.08),
        kernel_listens=True,
        seed=19,
    ),
}
