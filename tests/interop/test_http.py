"""curl and wrk against nginx."""

import re
from pathlib import Path

import pytest

from tests.interop.conftest import TLS_PORT, WEB_PORT, Web, hash_of
from tests.system.lab import IPV4, Family, Lab
from tests.system.peers import MEGABYTE

pytestmark = pytest.mark.timeout(90)


@pytest.mark.needs("curl", "nginx", "openssl")
def test_curl_big_download_arrives_unaltered(lab: Lab, web: Web, family: Family, tmp_path: Path) -> None:
    expected = web.add("big", 200 * MEGABYTE)
    done = lab.client.run("curl", "-sS", "-o", str(tmp_path / "big"), family.url(WEB_PORT, "/big"))
    assert (done.returncode, done.stderr) == (0, "")
    assert hash_of(tmp_path / "big") == expected


@pytest.mark.needs("curl", "nginx", "openssl")
def test_curl_big_upload_arrives_unaltered(lab: Lab, web: Web, family: Family) -> None:
    expected = web.add("source", 200 * MEGABYTE)
    url = family.url(WEB_PORT, f"/upload/{family.name}")
    done = lab.client.run("curl", "-sS", "-f", "-T", str(web.root / "source"), url)
    assert (done.returncode, done.stderr) == (0, "")
    assert hash_of(web.root / "upload" / family.name) == expected


@pytest.mark.needs("curl", "nginx", "openssl")
def test_curl_two_hundred_parallel_downloads_arrive_unaltered(
    lab: Lab, web: Web, family: Family, tmp_path: Path
) -> None:
    expected = {str(number): web.add(f"many/{number}", MEGABYTE + 1009 * number) for number in range(200)}
    wanted = "".join(
        f'url = "{family.url(WEB_PORT, f"/many/{number}")}"\noutput = "{tmp_path / number}"\n'
        for number in expected
    )
    (tmp_path / "wanted").write_text(wanted)
    parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "200")
    done = lab.client.run("curl", "-sS", "-f", "-g", *parallel, "-K", str(tmp_path / "wanted"))
    assert done.returncode == 0, done.stderr
    assert {path.name: hash_of(path) for path in tmp_path.glob("[0-9]*")} == expected


@pytest.mark.needs("curl", "nginx", "openssl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_over_tls_arrives_unaltered(
    lab: Lab, web: Web, family: Family, tmp_path: Path, version: str
) -> None:
    expected = web.add("secret", 50 * MEGABYTE)
    url = f"https://{family.literal()}:{TLS_PORT}/secret"
    trust = ("--cacert", str(web.certificate.certificate))
    done = lab.client.run("curl", "-sS", "-f", version, *trust, "-o", str(tmp_path / "secret"), url)
    assert (done.returncode, done.stderr) == (0, "")
    assert hash_of(tmp_path / "secret") == expected


@pytest.mark.needs("curl", "nginx", "openssl")
def test_curl_fifty_requests_on_one_connection(lab: Lab, web: Web) -> None:
    arguments = [word for _ in range(50) for word in ("-o", "/dev/null", IPV4.url(WEB_PORT))]
    done = lab.client.run("curl", "-sS", "-w", "%{http_code} %{num_connects}\n", *arguments)
    assert done.stdout.splitlines() == ["200 1"] + ["200 0"] * 49


@pytest.mark.needs("curl")
def test_curl_closed_port_says_refused(lab: Lab, family: Family) -> None:
    done = lab.client.run("curl", "-sS", family.url(9))
    assert done.returncode == 7, done.stderr
    assert "refused" in done.stderr or "Couldn't connect" in done.stderr or "Failed to connect" in done.stderr


@pytest.mark.needs("wrk", "nginx", "openssl")
@pytest.mark.parametrize("connections", [1, 50, 400])
def test_wrk_kept_connections_have_no_error(lab: Lab, web: Web, family: Family, connections: int) -> None:
    check_wrk(
        lab,
        "-t1" if connections == 1 else "-t2",
        f"-c{connections}",
        family.url(WEB_PORT, "/index.html"),
    )


@pytest.mark.needs("wrk", "nginx", "openssl")
def test_wrk_one_request_per_connection_has_no_error(lab: Lab, web: Web, family: Family) -> None:
    check_wrk(lab, "-t2", "-c32", "-H", "Connection: close", family.url(WEB_PORT, "/index.html"))


def check_wrk(lab: Lab, *arguments: str) -> None:
    """Run it for two seconds, of which a virtual machine may not run one, and an answer may take as long."""
    done = lab.client.run("wrk", "-d2s", "--timeout", "20s", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Socket errors" not in done.stdout, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout
    requests = re.search(r"(\d+) requests in", done.stdout)
    assert requests, done.stdout
    assert int(requests[1]) > 100, done.stdout
