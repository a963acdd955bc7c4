"""Real programs through tunproxy: the lab of the system tests, and the servers that several of them share."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import family as family
from tests.system.conftest import lab as lab
from tests.system.conftest import many_descriptors as many_descriptors
from tests.system.conftest import module_lab as module_lab
from tests.system.conftest import own_folders as own_folders
from tests.system.conftest import pytest_configure as pytest_configure
from tests.system.lab import IPV4, IPV6, Lab
from tests.system.peers import block

WEB_PORT, TLS_PORT = 8080, 8443
NGINX = """
daemon off;
user root;
worker_processes 2;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    server {{
        listen {four}:{web} backlog=4096;
        listen [{six}]:{web} backlog=4096;
        listen {four}:{tls} ssl http2;
        listen [{six}]:{tls} ssl http2;
        root {root};
        location /upload/ {{ dav_methods PUT; }}
    }}
}}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("interop", "kernel matrix")
    group.addoption("--matrix-samples", type=int, help="combinations of the kernel matrix to play")
    group.addoption("--matrix-cell", help="play this cell of the kernel matrix only")
    group = parser.getgroup("rules", "rules beside mihomo")
    group.addoption("--rules-pairs", type=int, default=10_000, help="pairs of a list and a flow to ask about")
    group.addoption("--rules-seed", type=int, default=1, help="what the lists and flows are made from")


@dataclass(frozen=True)
class Certificate:
    """A key and a certificate for the service addresses, signed by itself."""

    key: Path
    certificate: Path


@dataclass(frozen=True)
class Web:
    """A running nginx: where its files are, and the certificate of its TLS side."""

    root: Path
    certificate: Certificate

    def add(self, name: str, size: int) -> str:
        """Put a file of size octets there, unlike every other; return its hash."""
        tag = name.encode().ljust(64)
        content = tag + block()[: size - len(tag)]
        if size > len(content):
            content += block() * ((size - len(content)) // len(block()) + 1)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(memoryview(content)[:size])
        return hash_of(path)


@pytest.fixture(scope="module")
def certificate(module_lab: Lab) -> Certificate:
    made = Certificate(module_lab.scratch / "key.pem", module_lab.scratch / "certificate.pem")
    module_lab.server.run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=lab", "-addext", f"subjectAltName=IP:{IPV4.host},IP:{IPV6.host}"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
    )
    assert made.certificate.exists()
    return made


@pytest.fixture(scope="module")
def web(module_lab: Lab, certificate: Certificate) -> Iterator[Web]:
    """Run nginx in the server namespace."""
    root = module_lab.scratch / "www"
    (root / "upload").mkdir(parents=True)
    (root / "index.html").write_bytes(b"x" * 1000 + b"\n")
    settings = module_lab.scratch / "nginx.conf"
    settings.write_text(
        NGINX.format(
            scratch=module_lab.scratch,
            root=root,
            certificate=certificate.certificate,
            key=certificate.key,
            four=IPV4.host,
            six=IPV6.host,
            web=WEB_PORT,
            tls=TLS_PORT,
        )
    )
    program = module_lab.start_serving("nginx", "-c", str(settings), "-e", "stderr", port=WEB_PORT)
    yield Web(root, certificate)
    program.stop()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
