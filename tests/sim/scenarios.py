"""From a seed to everything that a run depends on."""

import random
from dataclasses import replace

from tests.sim.apps import AT_END, WHEN_DONE, WHEN_SENT, AppPlan
from tests.sim.link import LinkPlan
from tests.sim.world import HostPlan, Scenario
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import ECN_ACCEPTED, ECN_OFF, ECN_OFFERED

CONTENT = random.Random(0).randbytes(1 << 20)
MILLI = 1000
SECOND = 1_000_000

MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 2, 3, 4, 8
EVERY_OPTION = (MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS)


def from_seed(seed: int) -> Scenario:
    """Return the scenario of this number: some kind of conversation over some kind of path."""
    draw = random.Random(seed)
    mtu = draw.choice((576, 1280, 1500, 1500, 1500, 9000, 65535))
    ipv6 = mtu >= 1280 and draw.random() < 0.4
    whole = draw.random() < 0.3
    strips = draw.choice(((), (), (), (SACK_PERMITTED,), (TIMESTAMPS,), (WINDOW_SCALE,), EVERY_OPTION))
    links = tuple(_link(draw, mtu, strips=strips, keeps_whole=whole) for _ in range(2))
    most = draw.choice((10, 2000, 50_000, 300_000))
    plans = draw.choice((_bulk, _bulk, _dialogue, _half_closed, _slow_reader, _aborting))(draw, most)
    refuses = draw.random() < 0.02
    hosts = tuple(
        HostPlan(
            app=plan,
            rcv_buf=draw.choice((2048, 8192, 30_000, 65_536, 1 << 20)),
            cwnd=draw.choice((0, 0, UNTHROTTLED)),
            tso=draw.random() < 0.6,
            mtu=mtu,
            iss=draw.choice((0, 2**31 - 5, 2**32 - 1, 2**32 - 3000, draw.randrange(2**32))),
            ts_offset=draw.choice((0, 2**32 - 1050, draw.randrange(2**32))),
            latency=draw.choice((0, 0, 50, 500)),
            answer_after=draw.choice((0, 30 * MILLI, 2 * SECOND)),
            refuses=refuses,
        )
        for plan in plans
    )
    hosts = tuple(  # drawn last, so that a seed's other numbers stay what they were
        replace(
            host,
            rcv_buf_most=draw.choice((0, 0, 4 * host.rcv_buf)),
            memory=draw.choice((1 << 30, 1 << 30, 200_000, 40_000, 5000)),
        )
        for host in hosts
    )
    hosts, links = _with_ecn(draw, hosts, links)
    return Scenario(seed, (hosts[0], hosts[1]), (links[0], links[1]), ipv6)


def _with_ecn(
    draw: random.Random, hosts: tuple[HostPlan, ...], links: tuple[LinkPlan, ...]
) -> tuple[tuple[HostPlan, ...], tuple[LinkPlan, ...]]:
    """Have the hosts agree on ECN or not, on a path that marks; drawn last of all."""
    hosts = tuple(
        replace(
            host,
            ecn=draw.choice((ECN_OFF, ECN_OFFERED, ECN_OFFERED, ECN_OFFERED, ECN_ACCEPTED)),
            tso_ecn=draw.random() < 0.5,
        )
        for host in hosts
    )
    links = tuple(
        replace(
            link,
            marks=draw.choice((0, 0.01, 0.1, 0.5, 1.0)),
            bleaching=draw.choice((0, 0, 0, 0.5)),
        )
        for link in links
    )
    return hosts, links


def _link(draw: random.Random, mtu: int, *, strips: tuple[int, ...], keeps_whole: bool) -> LinkPlan:
    delay = draw.choice((20, 500, 5 * MILLI, 50 * MILLI, 150 * MILLI))
    is_bad = draw.random() < 0.7
    rate = draw.choice((0, 0, 20_000, 1_000_000, 12_500_000))
    outages = []
    if draw.random() < 0.1:
        begin = draw.randrange(5 * SECOND)
        outages.append((begin, begin + draw.choice((300 * MILLI, 2 * SECOND, 20 * SECOND))))
    return LinkPlan(
        delay=delay,
        jitter=draw.choice((0, delay // 4, delay)),
        loss=draw.choice((0, 0.005, 0.02, 0.05, 0.1)) if is_bad else 0.0,
        duplication=draw.choice((0, 0, 0.02, 0.2)) if is_bad else 0.0,
        reordering=draw.choice((0, 0, 0.02, 0.2)) if is_bad else 0.0,
        corruption=draw.choice((0, 0, 0.01)) if is_bad and not keeps_whole else 0.0,
        outages=tuple(outages),
        strips=strips,
        rate=rate,
        queue=draw.choice((4 * mtu, 20 * mtu, 200_000)),
        mtu=mtu,
        keeps_whole=keeps_whole,
    )


def _stream(draw: random.Random, most: int) -> bytes:
    size = draw.choice((0, 1, *(draw.randrange(most + 1) for _ in range(4)), most, most))
    at = draw.randrange(len(CONTENT) - size)
    return CONTENT[at : at + size]


def _bulk(draw: random.Random, most: int) -> list[AppPlan]:
    up, down = _stream(draw, most), _stream(draw, most)
    sides = [(WHEN_SENT, WHEN_SENT), (WHEN_DONE, WHEN_DONE), (WHEN_DONE, AT_END), (AT_END, WHEN_DONE)]
    closes = draw.choice(sides)
    write_size = draw.choice((1, 100, 5000, 65536)) if most <= 2000 else draw.choice((700, 5000, 262_144))
    return [
        AppPlan(sends, expects, ((0, len(sends)),), write_size=write_size, closes=how)
        for sends, expects, how in ((up, down, closes[0]), (down, up, closes[1]))
    ]


def _dialogue(draw: random.Random, most: int) -> list[AppPlan]:
    """Requests and answers in turn, each sent when the one before has arrived whole."""
    asked = answered = 0
    client_gates, server_gates = [], []
    for _ in range(draw.randrange(1, 12)):
        client_gates.append((answered, asked + draw.randrange(1, min(most, 3000) + 1)))
        asked = client_gates[-1][1]
        server_gates.append((asked, answered + draw.randrange(1, most // 4 + 2)))
        answered = server_gates[-1][1]
    at = draw.randrange(len(CONTENT) // 4)
    requests, answers = CONTENT[at : at + asked], CONTENT[at + 7 : at + 7 + answered]
    return [
        AppPlan(requests, answers, tuple(client_gates), closes=WHEN_DONE),
        AppPlan(answers, requests, tuple(server_gates), closes=AT_END),
    ]


def _half_closed(draw: random.Random, most: int) -> list[AppPlan]:
    """One side has said everything, and closes, before the other begins."""
    first, second = _stream(draw, most), _stream(draw, most)
    one = AppPlan(first, second, ((0, len(first)),), closes=WHEN_SENT)
    two = AppPlan(second, first, ((len(first), len(second)),), closes=AT_END)
    return [one, two] if draw.random() < 0.5 else [two, one]


def _slow_reader(draw: random.Random, most: int) -> list[AppPlan]:
    plans = []
    up, down = _stream(draw, most), _stream(draw, most)
    for sends, expects in ((up, down), (down, up)):
        size = draw.choice((max(len(expects) // 10, 1), max(len(expects) // 3, 1), 0))
        plans.append(
            AppPlan(
                sends,
                expects,
                ((0, len(sends)),),
                write_size=draw.choice((500, 65536)),
                read_size=size,
                read_every=draw.choice((MILLI, 300 * MILLI, 5 * SECOND)),
                read_from=draw.choice((0, 50 * MILLI, 30 * SECOND)),
                closes=draw.choice((WHEN_SENT, WHEN_DONE)),
            )
        )
    return plans


def _aborting(draw: random.Random, most: int) -> list[AppPlan]:
    """One side, or both, reset the connection at some time; the other may never hear of it."""
    up, down = _stream(draw, most), _stream(draw, most)
    aborting = draw.choice(((True, False), (False, True), (True, True)))
    return [
        AppPlan(
            sends,
            expects,
            ((0, len(sends)),),
            closes=draw.choice((WHEN_SENT, WHEN_DONE)),
            abort_at=draw.choice((1, 40 * MILLI, draw.randrange(1, 2 * SECOND))) if aborts else 0,
            patience=120 * SECOND,
        )
        for sends, expects, aborts in ((up, down, aborting[0]), (down, up, aborting[1]))
    ]
