"""A Cinder and its Keystone that send given responses, such as no healthy ones send."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def running() -> Iterator["Services"]:
    """Run one on 127.0.0.1."""
    with Services() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Services(ThreadingHTTPServer):
    """Has a given response of Cinder for each method and path, and a token of Keystone; records the requests."""

    daemon_threads = False  # so that they are joined at the end

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.responses, self.requests, self.issued = {}, [], 0
        self.roles = ["service", "admin"]
        self.endpoint = f"{self.url}/volume/v3/service"

    @property
    def options(self):
        """Return the options of the service user."""
        return {
            "auth_type": "v3password",
            "auth_url": f"{self.url}/v3",
            "username": "volumes",
            "password": "hush",
            "user_domain_id": "default",
            "project_name": "service",
            "project_domain_id": "default",
        }

    def respond(self, path, document, status=200, method="GET"):
        self.responses[method, path] = status, _body(document)

    def respond_in_turn(self, path, *responses, method="GET"):
        """Send these documents and statuses one after the other, and the last one from then on."""
        self.responses[method, path] = [(status, _body(document)) for document, status in responses]

    def token(self):
        endpoint = {"interface": "internal", "region_id": "one", "region": "one", "url": self.endpoint}
        return {
            "token": {
                "expires_at": "2999-01-01T00:00:00.000000Z",
                "project": {"id": "service", "name": "service", "domain": {"id": "default", "name": "Default"}},
                "roles": [{"id": name, "name": name} for name in self.roles],
                "user": {"id": "u", "name": "volumes", "domain": {"id": "default", "name": "Default"}},
                "catalog": [{"type": "volumev3", "name": "cinder", "endpoints": [endpoint]}],
            }
        }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.command, self.path, self.headers))
        found = self.server.responses.get((self.command, self.path), (404, b"nothing here"))
        status, body = found if isinstance(found, tuple) else found.pop(0) if len(found) > 1 else found[0]
        self._send(status, body, Location=f"{self.server.url}{self.path}")

    do_DELETE = do_GET  # noqa: N815 - the name that http.server looks for

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v3/auth/tokens":
            self.do_GET()
            return
        self.server.issued += 1
        self._send(201, json.dumps(self.server.token()).encode(), **{"X-Subject-Token": "of-the-service"})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def _send(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _body(document):
    return document if isinstance(document, bytes) else json.dumps(document).encode()
