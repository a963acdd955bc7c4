"""A bad resolver is a failed look-up."""

import asyncio
import socket
import types
from collections.abc import Sequence

import pytest

from tunproxy.plugin.contributions import Resolver
from tunproxy.plugin.hookspecs import hookimpl
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.resolving import GuardedResolver, lookups_of
from tunproxy.testkit.virtual import VirtualLoop


class Book(Resolver):
    def __init__(self, answer: object, seconds: float = 0.0) -> None:
        super().__init__("book")
        self.answer = answer
        self.seconds = seconds

    async def resolve(self, name: str) -> Sequence[str]:
        await asyncio.sleep(self.seconds)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # on purpose


def resolve(answer: object, seconds: float = 0.0) -> tuple[object, dict[str, int]]:
    """Return the addresses, or the error, and the faults."""
    loop = VirtualLoop()
    ledger = Ledger(clock=loop.clock)
    try:
        return loop.run(GuardedResolver("p", Book(answer, seconds), ledger).resolve("www")), ledger.faults()
    except OSError as error:
        return error, ledger.faults()
    finally:
        loop.close()


@pytest.mark.parametrize("answer", [["192.0.2.1", "2001:db8::1"], []])
def test_resolve_answers_what_the_plugin_answers(answer: list[str]) -> None:
    assert resolve(answer) == (tuple(answer), {})


def test_resolve_honest_failure_is_raised_and_no_fault() -> None:
    failure = socket.gaierror(socket.EAI_AGAIN, "try later")
    assert resolve(failure) == (failure, {})


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(RuntimeError("broken"), 0.0), (["www.example.org"], 0.0), ("192.0.2.1", 0.0), ([], 60)],
)
def test_resolve_faulty_plugin_could_not_find_out(answer: object, seconds: float) -> None:
    error, faults = resolve(answer, seconds)
    assert isinstance(error, OSError)
    assert "resolver 'book' of plugin p does not answer" in str(error)
    assert faults == {"p": 1}


def test_lookups_are_the_resolvers_of_all_plugins_by_name() -> None:
    plugins = Plugins()
    book = Book(["192.0.2.1"], 0.0)
    hook = hookimpl(lambda: [book])
    assert plugins.register(types.SimpleNamespace(contribute_resolvers=hook), "p"), plugins.problems
    found = lookups_of(plugins)
    loop = VirtualLoop()
    try:
        assert {name: loop.run(look_up("www")) for name, look_up in found.items()} == {"book": ("192.0.2.1",)}
    finally:
        loop.close()
