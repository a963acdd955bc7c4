"""Who stays, who gives way, and when: with guests that only note that they were asked to go."""

import random

from tests.unit.datagram.world import SECOND, TinyPoller
from tunproxy.datagram.room import Guest, Room
from tunproxy.flow.counters import Counters

OURS, THEIRS, OTHERS = b"ours", b"theirs", b"others"


class Somebody(Guest):
    """A guest with a name."""

    def __init__(self, house: "House", key: bytes, client: bytes, limit: int) -> None:
        super().__init__(key, client, limit, house.now)
        self.house = house

    def give_way(self, now: int) -> None:
        self.house.room.leave(self)
        self.house.gone.append(int(self.key))


class House:
    """A room, a clock, and the numbers of those who had to go."""

    def __init__(self, *, most: int = 8, most_each: int = 6, share: int = 2) -> None:
        self.now = SECOND
        self.poller = TinyPoller()
        self.room = Room(self.poller, Counters(), most, most_each, share)
        self.gone: list[int] = []
        self.count = 0

    def enter(self, client: bytes = OURS, *, limit: int = 300 * SECOND) -> Somebody:
        """Let one more in, which makes room before."""
        self.now += 1
        self.room.make_room(client, self.now)
        guest = Somebody(self, b"%d" % self.count, client, limit)
        self.room.enter(guest)
        self.count += 1
        return guest

    def use(self, guest: Somebody) -> None:
        self.now += 1
        guest.used_at = self.now

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.poller.advance(self.now)


def test_source_that_has_all_it_may_have_makes_room_for_itself() -> None:
    house = House(most=100)
    house.enter(THEIRS)
    for _ in range(9):
        house.enter()
    assert house.gone == [1, 2, 3]
    assert len(house.room) == 7


def test_full_room_sends_away_the_guest_that_was_idle_longest() -> None:
    house = House(most=3, most_each=3, share=3)
    first = house.enter()
    for client in (THEIRS, OTHERS):
        house.enter(client)
    house.use(first)
    house.enter()
    assert house.gone == [1]


def test_newcomer_of_a_modest_source_takes_the_place_of_a_greedy_one() -> None:
    house = House()
    house.enter(THEIRS)
    house.enter(THEIRS)
    for _ in range(6):
        house.enter()
    house.enter(OTHERS)
    assert house.gone == [2]
    assert len(house.room) == 8


def test_greedy_source_takes_no_place_of_another() -> None:
    house = House(share=1)
    for client in (THEIRS, THEIRS, THEIRS, THEIRS):
        house.enter(client)
    for _ in range(9):
        house.enter()
    assert house.gone == [4, 5, 6, 7, 8]


def test_guests_go_after_their_time_and_not_before() -> None:
    house = House()
    house.enter(limit=10 * SECOND)
    house.enter(limit=30 * SECOND)
    house.pass_time(9.9)
    assert house.gone == []
    house.pass_time(0.2)
    assert house.gone == [0]
    house.pass_time(19)
    assert house.gone == [0]
    house.pass_time(1)
    assert house.gone == [0, 1]
    assert house.poller.deadlines == []


def test_use_puts_the_end_off() -> None:
    house = House()
    guest = house.enter(limit=10 * SECOND)
    for _ in range(5):
        house.pass_time(9)
        house.use(guest)
    assert house.gone == []
    house.pass_time(10.1)
    assert house.gone == [0]


def test_longer_time_that_was_given_later_counts() -> None:
    house = House()
    guest = house.enter(limit=10 * SECOND)
    guest.idle_limit = 30 * SECOND
    house.pass_time(29)
    assert house.gone == []
    house.pass_time(1.1)
    assert house.gone == [0]


def test_guests_that_are_gone_leave_no_deadline_behind() -> None:
    house = House()
    for _ in range(10_000):
        house.enter()
    assert len(house.room) == 6
    assert len(house.poller.deadlines) == 1


def test_bounds_hold_whatever_comes() -> None:
    draw = random.Random(4787)
    house = House(most=20, most_each=9, share=4)
    guests: list[Somebody] = []
    for _ in range(5000):
        what = draw.random()
        if what < 0.6:
            guests.append(house.enter(draw.choice((OURS, OURS, OURS, THEIRS, b"%d" % draw.randrange(40)))))
        elif what < 0.9 and guests:
            house.use(draw.choice(guests[-30:]))
        else:
            house.pass_time(draw.choice((0.1, 5, 100)))
        assert len(house.room) <= 20
        assert len(house.gone) == len(set(house.gone))
        assert len(house.room) == house.count - len(house.gone)
    house.pass_time(1000)
    assert len(house.room) == 0
