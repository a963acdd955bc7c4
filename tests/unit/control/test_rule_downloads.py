"""Files of rule sets from a web server: new, as before, moved, broken, cut off, or no rules at all."""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tunproxy.control.config.schema import Config, RuleSetConfig
from tunproxy.control.rule_downloads import DownloadError, Update, chosen, update
from tunproxy.errors import ConfigError
from tunproxy.progress import Progress

LIST = b"a.example\n+.b.example\n"
DATE = "Sat, 21 Nov 2026 10:00:00 GMT"
PORTAL = b"<!doctype html>\n<html><body>\n<a href='/login'>Log in, please</a>\n</body></html>\n"


class Served(ThreadingHTTPServer):
    """Answers by path; what is asked for is remembered."""

    asked: list[tuple[str, str]]
    body = LIST


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        since = self.headers.get("If-Modified-Since", "")
        self.server.asked.append((self.path, since))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/list.txt")
            self.end_headers()
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if self.path == "/gone":
            self.send_error(404)
            return
        if since == DATE:
            self.send_response(304)
            self.end_headers()
            return
        body = {"/portal": PORTAL, "/empty": b"# none\n"}.get(self.path, self.server.body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) * (2 if self.path == "/cut" else 1)))
        self.send_header("Last-Modified", DATE)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Served]:
    found = Served(("127.0.0.1", 0), Handler)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with contextlib.closing(found.socket):
        yield found
        found.shutdown()
        thread.join(5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """What is left to be collected is told as a warning, which here is a fault of the test that left it."""
    yield
    gc.collect()


def described(server: Served, folder: Path, path: str, **options: str) -> RuleSetConfig:
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    told = {"format": "text", "behavior": "domain", **options}
    return RuleSetConfig(path=str(folder / "ads.txt"), url=url, **told)  # type: ignore[arg-type]


def updated(config: RuleSetConfig, progress: Progress | None = None) -> Update:
    return update("ads", config, progress or Progress("", None))


def test_file_is_downloaded_once_and_its_progress_is_told(server: Served, tmp_path: Path) -> None:
    config, progress = described(server, tmp_path, "/moved"), Progress("", None)
    parts: list[float] = []
    progress.advance = parts.append  # type: ignore[method-assign,assignment]
    assert updated(config, progress) == Update(len(LIST), is_new=True)
    assert sum(parts) == len(LIST)
    assert (tmp_path / "ads.txt").read_bytes() == LIST
    assert updated(config) == Update(len(LIST), is_new=False)
    assert server.asked == [("/moved", ""), ("/list.txt", ""), ("/moved", DATE), ("/list.txt", DATE)]
    os.utime(config.path, (0, 0))
    assert updated(config) == Update(len(LIST), is_new=False)  # sent again, and the same
    server.body = b"c.example\n"
    os.utime(config.path, (0, 0))
    assert updated(config) == Update(10, is_new=True)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/gone", {}, "rule set ads: the server says 404 Not Found; the old file stays"),
        ("/cut", {}, f"it was cut off after {len(LIST)} of {2 * len(LIST)} octets"),
        ("/portal", {}, "what came cannot be used"),
        ("/empty", {}, "what came cannot be used: there is nothing in it"),
        ("/portal", {"format": "srs"}, "what came cannot be used"),
        ("/portal", {"format": "geosite"}, "what came cannot be used"),
        ("/portal", {"format": "mmdb"}, "what came cannot be used: cannot open the database"),
        ("/elsewhere", {}, "rule set ads: "),
    ],
)
def test_what_cannot_be_used_leaves_the_old_file_alone(
    server: Served, tmp_path: Path, path: str, options: dict[str, str], message: str
) -> None:
    file = tmp_path / "ads.txt"
    file.write_bytes(b"old.example\n")
    with pytest.raises(DownloadError, match="the old file stays") as caught:
        updated(described(server, tmp_path, path, **options))
    assert message in str(caught.value)
    assert file.read_bytes() == b"old.example\n"
    assert os.listdir(tmp_path) == ["ads.txt"]


def test_file_that_is_too_large_is_left_there(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunproxy.control.rule_downloads.MAX_FILE", 10)
    with pytest.raises(DownloadError, match=r"more than 10 octets$"):  # there is no old one that could stay
        updated(described(server, tmp_path, "/list.txt"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/x", "x", "http://", "http://[", "http://127.0.0.1:1/"]
)
def test_url_that_leads_nowhere_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="rule set ads: "):
        updated(RuleSetConfig(path=str(tmp_path / "x"), url=url))
    assert os.listdir(tmp_path) == []


def test_rule_sets_are_chosen_by_name_or_by_having_a_url() -> None:
    with_url, without = RuleSetConfig(path="a", url="http://h/"), RuleSetConfig(path="b")
    config = Config(rule_sets={"a": with_url, "b": without})
    assert chosen(config, []) == chosen(config, ["a"]) == {"a": with_url}
    with pytest.raises(ConfigError, match=r"\[rule-sets.b\] has no url"):
        chosen(config, ["b"])
    with pytest.raises(ConfigError, match=r"no rule set 'c' \(there are: a, b\)"):
        chosen(config, ["c"])
    with pytest.raises(ConfigError, match="no rule set has a url"):
        chosen(Config(), [])
