"""openssl s_client and s_server with a file in either direction."""

import time
from pathlib import Path

import pytest

from tests.interop.conftest import Certificate, hash_of
from tests.system.lab import Family, Lab
from tests.system.namespace import Program
from tests.system.peers import block

pytestmark = [pytest.mark.timeout(60), pytest.mark.needs("openssl")]

PORT = 4433
SIZE = 20_000_000


def test_file_from_the_server_arrives_unaltered(
    lab: Lab, certificate: Certificate, family: Family, tmp_path: Path
) -> None:
    (tmp_path / "document").write_bytes(block()[:SIZE])
    (tmp_path / "request").write_text("GET /document HTTP/1.0\r\n\r\n")
    program = start_server(lab, certificate, family, f"cd {tmp_path} &&", "-WWW")
    line = client_line(certificate, family, f"-ign_eof <{tmp_path}/request >{tmp_path}/answer")
    done = lab.client.run("sh", "-c", line)
    program.stop()
    assert done.returncode == 0, done.stderr
    head, _, body = (tmp_path / "answer").read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert body == block()[:SIZE]


def test_file_to_the_server_arrives_unaltered(
    lab: Lab, certificate: Certificate, family: Family, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(block()[:SIZE])
    server = start_server(lab, certificate, family, "sleep 55 |", f">{tmp_path}/arrived")
    line = client_line(certificate, family, f"-ign_eof <{tmp_path}/source")
    client = lab.start(lab.client, "sh", "-c", line)  # which waits for an answer when all is sent
    until = time.monotonic() + 40
    while (tmp_path / "arrived").stat().st_size < SIZE and time.monotonic() < until:
        time.sleep(0.05)
    client.stop()
    server.stop()
    assert hash_of(tmp_path / "arrived") == hash_of(tmp_path / "source")


def start_server(lab: Lab, certificate: Certificate, family: Family, before: str, after: str) -> Program:
    """Run s_server, with something of the shell's before and after it."""
    address = f"{family.literal()}:{PORT}"
    keys = f"-cert {certificate.certificate} -key {certificate.key}"
    line = f"{before} openssl s_server -quiet -accept {address} {keys} {after}"
    return lab.start_serving("sh", "-c", line, port=PORT, address=family.host)


def client_line(certificate: Certificate, family: Family, after: str) -> str:
    verify = f"-CAfile {certificate.certificate} -verify_return_error"
    return f"exec openssl s_client -quiet -connect {family.literal()}:{PORT} {verify} {after}"
