"""One implementation of one hook."""

from tunproxy.plugin.hook import Hook


async def waits(info: object) -> None:
    pass


def test_hook_gets_what_it_asks_for_and_its_own_options() -> None:
    hook = Hook("p", lambda options, info: (options, info), ("options", "info"), "decide_flow", "mine")
    assert hook({"info": "i", "upstreams": "u"}) == ("mine", "i")


def test_hook_knows_coroutines() -> None:
    assert Hook("p", waits, ("info",)).is_async
    assert not Hook("p", lambda: None, ()).is_async
