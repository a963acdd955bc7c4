"""The timer wheel fires everything in its time, however deadlines move."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunproxy.flow.ports import Timed
from tunproxy.loop.timers import SLOTS, TICK, TimerWheel

SECOND = 1_000_000
RING = SLOTS * TICK


class Alarm(Timed):
    """An owner as flows are: its deadline moves freely, and it asks the wheel only to come earlier."""

    def __init__(self, wheel: TimerWheel) -> None:
        super().__init__()
        self.wheel = wheel
        self.due = -1
        self.fired: list[int] = []
        self.calls = 0

    def set(self, due: int) -> None:
        self.due = due
        if due >= 0 and (self.scheduled_at < 0 or due < self.scheduled_at):
            self.wheel.schedule(self, due)

    def on_deadline(self, now: int) -> None:
        self.calls += 1
        if 0 <= self.due <= now:
            self.fired.append(now)
            self.due = -1
        self.set(self.due)


def late(at: int) -> int:
    """Return the time by which a deadline must have fired: the end of its tick."""
    return -(-at // TICK) * TICK


@pytest.mark.parametrize(
    "at",
    [
        1, TICK - 1, TICK, TICK + 1, 40_000, RING - TICK, RING - 1, RING, RING + 1, 2 * RING - TICK - 1,
        2 * RING - TICK, 2 * RING - 1, 2 * RING, 3 * RING - TICK, SECOND, 60 * SECOND,
        RING * SLOTS - TICK, RING * SLOTS - 1, RING * SLOTS, RING * SLOTS + 1, 600 * SECOND, 3600 * SECOND,
    ],
)  # fmt: skip
@pytest.mark.parametrize("start", [0, 1, 511 * TICK, 512 * TICK, 123_456_789])
def test_alarm_fires_within_a_tick(start: int, at: int) -> None:
    wheel = TimerWheel(start)
    alarm = Alarm(wheel)
    alarm.set(start + at)
    wakes = 0
    while not alarm.fired:
        now = wheel.next_at()
        assert start <= now <= late(start + at), "it would come too late"
        wheel.advance(now)
        wakes += 1
    assert alarm.fired == [late(start + at)]
    assert wakes <= 3 + at // RING, "looked at once per far slot at most"
    assert wheel.next_at() == -1


def test_every_tick_of_two_rings_fires_on_time() -> None:
    wheel = TimerWheel(0)
    alarms = [Alarm(wheel) for _ in range(2 * SLOTS + 10)]
    for number, alarm in enumerate(alarms):
        alarm.set(number * TICK + 1)
    while (now := wheel.next_at()) >= 0:
        wheel.advance(now)
    assert [alarm.fired for alarm in alarms] == [[(number + 1) * TICK] for number in range(len(alarms))]


def test_deadline_in_the_past_fires_with_the_next_tick() -> None:
    wheel = TimerWheel(10 * SECOND)
    alarm = Alarm(wheel)
    alarm.set(5)
    assert wheel.next_at() == 10 * SECOND + TICK
    wheel.advance(wheel.next_at())
    assert alarm.fired == [10 * SECOND + TICK]


def test_nothing_scheduled_wants_nothing() -> None:
    wheel = TimerWheel(0)
    assert wheel.next_at() == -1
    wheel.advance(10**12)
    assert wheel.next_at() == -1
    alarm = Alarm(wheel)
    alarm.set(10**12 + 5 * TICK)
    assert wheel.next_at() == 10**12 + 5 * TICK


def test_advance_before_the_time_fires_nothing() -> None:
    wheel = TimerWheel(0)
    alarm = Alarm(wheel)
    alarm.set(10 * TICK)
    wheel.advance(10 * TICK - 1)
    assert alarm.calls == 0
    wheel.advance(10 * TICK)
    assert alarm.calls == 1


def test_long_sleep_fires_everything_that_was_due() -> None:
    wheel = TimerWheel(0)
    alarms = [Alarm(wheel) for _ in range(100)]
    for number, alarm in enumerate(alarms):
        alarm.set(number * 7 * SECOND)
    wheel.advance(50 * 7 * SECOND)
    assert [len(alarm.fired) for alarm in alarms] == [1] * 51 + [0] * 49
    wheel.advance(3600 * SECOND)
    assert all(len(alarm.fired) == 1 for alarm in alarms)


def test_alarm_that_moves_back_costs_one_call() -> None:
    wheel = TimerWheel(0)
    alarm = Alarm(wheel)
    alarm.set(200_000)
    for number in range(100):
        alarm.set(200_000 + number * TICK)
    while (now := wheel.next_at()) >= 0:
        wheel.advance(now)
    assert alarm.fired == [299_000]
    assert alarm.calls == 2


def test_alarm_that_goes_back_and_forth_piles_up_nothing() -> None:
    """A delayed acknowledgment in front of a retransmission timer, over and over."""
    wheel = TimerWheel(0)
    alarm = Alarm(wheel)
    now = 0
    while now < 190_000:
        alarm.set(now + 200_000)
        alarm.set(now + 2_000)
        now += 3_000
        wheel.advance(now)
    fired = alarm.calls
    alarm.set(-1)
    while (now := wheel.next_at()) >= 0:
        wheel.advance(now)
    assert alarm.calls - fired <= 2


def test_busy_flow_with_a_keepalive_piles_up_nothing() -> None:
    """Four deadlines that all move with every packet, for ten minutes: near, nearer, and far away."""
    wheel = TimerWheel(0)
    alarm = Alarm(wheel)
    now = most = 0
    while now < 600 * SECOND:
        alarm.due = now + 120 * SECOND
        wheel.schedule(alarm, alarm.due)
        for nearer in (200_000, 30_000, 5_000):
            alarm.set(now + nearer)
        for _ in range(7):
            now += 40_000
            wheel.advance(now)
            alarm.due = now + 120 * SECOND
            wheel.schedule(alarm, alarm.due)
            most = max(most, wheel._count)
        now += 450_000
        wheel.advance(now)
        alarm.set(-1)
    assert most <= 6
    while (now := wheel.next_at()) >= 0:
        wheel.advance(now)
    assert wheel._count == 0


def test_alarm_that_sets_others_while_it_fires() -> None:
    wheel = TimerWheel(0)
    second = Alarm(wheel)

    class First(Alarm):
        def on_deadline(self, now: int) -> None:
            super().on_deadline(now)
            second.set(now)

    First(wheel).set(5 * TICK)
    wheel.advance(5 * TICK)
    assert second.fired == []
    wheel.advance(6 * TICK)
    assert second.fired == [6 * TICK]


MOVES = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 4), st.integers(0, 3 * RING)),
    st.tuples(
        st.just("set"), st.integers(0, 4), st.sampled_from([RING - 1, RING, 2 * RING - TICK, 600 * SECOND])
    ),
    st.tuples(st.just("drop"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("advance"), st.just(0), st.integers(0, 2 * RING)),
    st.tuples(st.just("wait"), st.just(0), st.just(0)),
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.integers(0, 3 * RING), st.lists(MOVES, max_size=60))
def test_wheel_agrees_with_a_table_of_deadlines(start: int, moves: list[tuple[str, int, int]]) -> None:
    wheel, now = TimerWheel(start), start
    alarms = [Alarm(wheel) for _ in range(5)]
    limits = [-1] * 5  # by when each must have fired
    for what, index, amount in [*moves, ("wait", 0, 0), ("advance", 0, 10_000 * SECOND)]:
        if what == "set":
            alarms[index].set(now + amount)
            limits[index] = max(late(now + amount), (now // TICK + 1) * TICK)
        elif what == "drop":
            alarms[index].set(-1)
            limits[index] = -1
        else:
            wanted = wheel.next_at()
            assert all(wanted <= limit for limit in limits if limit >= 0)
            assert wanted >= 0 or set(limits) == {-1}
            now = max(now, wanted) if what == "wait" else now + amount
            armed = [alarm.due for alarm in alarms]
            fired = [len(alarm.fired) for alarm in alarms]
            wheel.advance(now)
            for number, alarm in enumerate(alarms):
                if len(alarm.fired) > fired[number]:
                    assert len(alarm.fired) == fired[number] + 1
                    assert 0 <= armed[number] <= now, "it fired early"
                    limits[number] = -1
                else:
                    assert limits[number] < 0 or limits[number] > now, "it did not fire"
    assert wheel.next_at() == -1
