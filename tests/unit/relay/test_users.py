"""Who may use the relay."""

from tests.unit.relay.world import run
from tunproxy.relay.passwords import PasswordHash, make_hash
from tunproxy.relay.users import Users
from tunproxy.secret import Secret


def check(users: Users, *logins: tuple[str, str]) -> list[bool]:
    async def ask() -> list[bool]:
        return [await users.check(*login) for login in logins]

    found = run(ask)
    users.close()
    return found


def test_password_is_the_users_own() -> None:
    users = Users({"joe": Secret("fish"), "jane": Secret("bird")})
    logins = ("joe", "fish"), ("jane", "bird"), ("joe", "bird"), ("jim", "fish"), ("joe", ""), ("", "fish")
    assert check(users, *logins) == [True, True, False, False, False, False]


def test_name_and_password_are_not_one_text() -> None:
    assert check(Users({"joe": Secret("fish")}), ("joef", "ish"), ("jo", "efish")) == [False, False]


def test_hashed_password_is_compared_and_remembered() -> None:
    users = Users({"joe": PasswordHash(make_hash("fish")), "jane": Secret("bird")})
    logins = (
        ("joe", "fish"),
        ("joe", "fish"),
        ("joe", "x"),
        ("jim", "fish"),
        ("jane", "bird"),
        ("jane", "fish"),
    )
    assert check(users, *logins) == [True, True, False, False, True, False]


def test_stranger_is_hashed_like_anybody() -> None:
    """A wrong name must take as long as a wrong password."""

    class Counting(PasswordHash):
        count = 0

        def matches(self, password: str) -> bool:
            self.count += 1
            return super().matches(password)

    kept = Counting(make_hash("fish"))
    before = kept.count
    assert check(Users({"joe": kept}), ("jim", "fish"), ("joe", "x")) == [False, False]
    assert kept.count == before + 2


def test_nobody_is_needed_where_there_are_no_users() -> None:
    assert Users({}).is_empty
    assert check(Users({}), ("joe", "fish")) == [False]
