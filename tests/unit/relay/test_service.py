"""What a worker's connections share."""

import pytest

from tests.unit.relay.world import config_of, run, service_of
from tunproxy.codecs.named import Named
from tunproxy.relay.failures import RequestFailed
from tunproxy.relay.service import user_limits

SHADOWSOCKS = """
[shadowsocks]
listen = []
method = "2022-blake3-aes-128-gcm"
password = "AAECAwQFBgcICQoLDA0ODw=="
rate = "1K"
"""


def test_everybody_who_may_have_flows_has_an_account() -> None:
    assert user_limits(config_of("")) == {"-": (0, 0)}
    assert user_limits(config_of('[users.joe]\npassword = "x"\nrate = "2K"\nconnections = 7')) == {
        "joe": (7, 2048)
    }
    assert user_limits(config_of(SHADOWSOCKS)) == {"-": (0, 0), "shadowsocks": (0, 1024)}
    users = SHADOWSOCKS + 'users = { jane = "EBESExQVFhcYGRobHB0eHw==" }'
    assert user_limits(config_of(users)) == {"-": (0, 0), "shadowsocks:jane": (0, 1024)}


class Still:
    """Something to which nothing happens."""

    def __init__(self, *, is_half_open: bool) -> None:
        self.active_at = 100.0
        self.is_half_open = is_half_open
        self.why = ""

    def cut(self, why: str) -> None:
        self.why = why


def test_what_is_idle_is_cut_sooner_where_one_side_has_ended() -> None:
    async def talk() -> None:
        service = service_of("[limits]\nidle = 60\nhalf-open = 5\n")
        whole, half = Still(is_half_open=False), Still(is_half_open=True)
        service.begin(whole)
        service.begin(half)
        service.cut_idle(104)
        assert (whole.why, half.why) == ("", "")
        service.cut_idle(106)
        assert (whole.why, half.why) == ("", "idle")
        service.end(half)
        service.cut_idle(161)
        assert whole.why == "idle"
        service.close()

    run(talk)


def test_codecs_are_chosen_among_those_on_offer() -> None:
    async def talk() -> None:
        service = service_of('[codecs]\noffer = ["gzip"]\n')
        assert service.choose_codec("") is None
        assert service.choose_codec("zstd, gzip") == Named("gzip")
        assert service.choose_codec("zstd") is None
        assert service.make_codec(Named("gzip")).keeps() is False
        with pytest.raises(RequestFailed):
            service.choose_codec("zstd;;")
        service.close()

    run(talk)
