"""A TLS server on loopback, with a certificate that a test chose."""

import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controlplane.secrets.certificates import ClaimAuthority


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        """A client that hangs up during the handshake is what tests are about."""


@contextmanager
def serving(
    endpoint: type[BaseHTTPRequestHandler], authority: ClaimAuthority, *, client_ca_pem: str | None = None
) -> Iterator[int]:
    """Its port. With `client_ca_pem` it asks for a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(authority.certificate_pem + authority.key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    if client_ca_pem is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca_pem)
    with _Server(("127.0.0.1", 0), endpoint) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
