"""Chromium without a screen, driven by chromedriver, in a namespace of a lab.

It is started with a profile of its own, and asks no resolver: whatever it wants from a place with a name
fails before it leaves. What pages ask for is in its own log, and can be looked at afterwards.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.system.namespace import Namespace

PROGRAMS = ("chromium", "chromedriver")
PATIENCE = 30.0  # seconds that a page may take to show something, on a machine that does other things too
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root, and it would refuse
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--lang=en-US",
    "--window-size=1280,943",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
SEEN = """
const [selector, text] = arguments
const seen = [...document.querySelectorAll(selector)].filter(
  (each) => each.checkVisibility() && each.innerText.includes(text))
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """Something that a page wanted from somewhere; status is 0 where there was no answer yet."""

    url: str
    method: str
    status: int


class Browser:
    """A running Chromium. The thread that uses it is in its namespace (``running``)."""

    def __init__(self, driver: Any) -> None:  # Any: selenium has no types of its own
        self._driver = driver
        self._asked: dict[str, Asked] = {}

    @property
    def address(self) -> str:
        return str(self._driver.current_url)

    @property
    def title(self) -> str:
        return str(self._driver.title)

    def open(self, url: str) -> None:
        """Go there; another part of the same page is no new page."""
        self._driver.get(url)

    def open_anew(self, url: str) -> None:
        """Go there as with an empty window."""
        self._driver.get("about:blank")
        self._driver.get(url)

    def all(self, selector: str, text: str = "") -> list[Any]:
        """Return the elements of a CSS selector that can be seen, with that text somewhere in them."""
        return list(self.run(f"{SEEN} return seen", selector, text))

    def one(self, selector: str, text: str = "") -> Any:
        """Return the first such element, once there is one."""
        return self.until(lambda: next(iter(self.all(selector, text)), None), f"{selector} {text}")

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first such element once there is one, whatever message is just passing over it.

        Both in one turn of the page's: what was found may be drawn anew in the next.
        """
        script = f"{SEEN} seen[0]?.click(); return seen.length > 0"
        self.until(lambda: self.run(script, selector, text), f"{selector} {text}")

    def write(self, selector: str, text: str) -> None:
        """Replace what is in a field."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the elements of a selector that can be seen."""
        return list(self.run(f"{SEEN} return seen.map((each) => each.innerText)", selector, ""))

    def framed(self) -> str:
        """Return the address of what the first frame of the page shows."""
        self._driver.switch_to.frame(0)
        try:
            return str(self.run("return document.URL"))
        finally:
            self._driver.switch_to.default_content()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; return what it returns."""
        return self._driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], T | None], what: str = "") -> T:
        """Return what condition returns, once that is true; what it looks at may change meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                found = condition()
                if found:
                    return found
            assert time.monotonic() < end, f"never came: {what}; at {self.address}: {self._text()}"
            time.sleep(0.05)

    def asked(self) -> list[Asked]:
        """Return all that pages have asked for until now, over HTTP and WebSockets."""
        for entry in self._driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            self._note(message["method"], message["params"])
        return [each for each in self._asked.values() if each.url.startswith(("http", "ws"))]

    def complaints(self) -> list[str]:
        """Return what the browser itself has complained of since the last time, errors only."""
        return [str(each["message"]) for each in self._driver.get_log("browser") if each["level"] == "SEVERE"]

    def picture(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        assert self._driver.save_screenshot(str(path))

    def _note(self, kind: str, about: dict[str, Any]) -> None:
        key = about.get("requestId", "")
        if kind == "Network.requestWillBeSent":
            self._asked[key] = Asked(about["request"]["url"], about["request"]["method"], 0)
        elif kind == "Network.webSocketCreated":
            self._asked[key] = Asked(about["url"], "WebSocket", 0)
        elif kind in ("Network.responseReceived", "Network.webSocketHandshakeResponseReceived"):
            known = self._asked.get(key)
            if known is not None:
                self._asked[key] = Asked(known.url, known.method, int(about["response"]["status"]))

    def _text(self) -> str:
        return str(self.run("return document.body ? document.body.innerText : ''"))[:500]


@contextlib.contextmanager
def running(namespace: Namespace, profile: Path) -> Iterator[Browser]:
    """Run Chromium in a namespace, and have the calling thread there meanwhile."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with namespace.entered():
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
