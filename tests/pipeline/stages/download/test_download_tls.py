from __future__ import annotations

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.failure import Failure
from pipeline.recipe.download import Download
from pipeline.stages.download.fetch import Fetcher

x509 = pytest.importorskip("cryptography.x509")
BODY = bytes(range(256)) * 400


def certificate(folder: Path) -> Path:
    """A file with a self-signed certificate for 127.0.0.1, and its key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "zhclip test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.TraditionalOpenSSL
    pem = key.private_bytes(serialization.Encoding.PEM, plain, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(pem + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The url of a TLS server, and its certificate."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            pass

    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake is part of a test
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/a.jpg", path
    server.shutdown()
    server.server_close()


def test_a_trusted_certificate_is_enough(https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(https[1]))
    assert Fetcher(Download(allow_hosts=("127.0.0.1",))).fetch(https[0]).body == BODY


def test_an_untrusted_certificate_and_a_wrong_name_are_refused(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failure, match=r"self.signed") as untrusted:
        Fetcher(Download(allow_hosts=("127.0.0.1",))).fetch(https[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(https[1]))
    with pytest.raises(Failure, match="localhost") as misnamed:
        Fetcher(Download(allow_hosts=("localhost",))).fetch(https[0].replace("127.0.0.1", "localhost"))
    assert untrusted.value.reason == misnamed.value.reason == "tls_failed"


def test_a_server_that_never_shakes_hands_meets_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(Failure) as caught:
            Fetcher(Download(allow_hosts=("127.0.0.1",), deadline=0.3)).fetch(url)
    assert caught.value.reason == "timeout"
