"""What the command line said, as a generation has it; more in ``tests/system/test_generations.py``."""

from pathlib import Path

from tunproxy.control.capture import CaptureOptions
from tunproxy.control.generations.keeping import options_in_words
from tunproxy.control.settings import PolicyOptions, UpSettings
from tunproxy.secret import Secret


def test_options_are_told_without_passwords_and_with_whole_paths() -> None:
    settings = UpSettings(
        tun="tun7",
        routes=("10.0.0.0/8",),
        mark=7,
        policy=PolicyOptions(
            rules="x.rules", upstream=Secret("socks5://u:hunter22@h:1"), plugins=("a.py", "b.py")
        ),
        capture=CaptureOptions(exclude_networks=("192.0.2.0/24",), kill_switch=True),
        said=frozenset(("tun", "route", "exclude_network", "kill_switch", "rules", "upstream", "plugin")),
    )
    here = Path.cwd()
    assert options_in_words(settings) == {
        "rules": str(here / "x.rules"),
        "upstream": "socks5://u:***@h:1",
        "plugin": f"{here}/a.py\n{here}/b.py",
        "tun": "tun7",
        "exclude-network": "192.0.2.0/24",
        "kill-switch": "True",
        "route": "10.0.0.0/8",
    }
    assert options_in_words(UpSettings()) == {}
    assert options_in_words(UpSettings(routes=(), said=frozenset(("no_route",)))) == {"route": "none"}
