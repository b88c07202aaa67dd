"""A TCP proxy that stands before a database server, and goes away as one does: it ends, refuses, or says nothing."""

import contextlib
import select
import socket
import socketserver
import threading


class Proxy:
    """Passes on what comes to its ``port``; ``sent`` is how often clients sent something."""

    def __init__(self, host, port):
        self.target = host, port
        self.port = 0
        self.sent = 0
        self.sockets = set()
        self._server = None
        self.come_back()

    def come_back(self):
        """Listen, and pass on what comes from now on."""
        self.silent = False
        self.cut()
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Connection)
            self._server.proxy = self
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self):
        """End the connections that there are."""
        for each in list(self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def refuse(self):
        """End the connections, and take no new ones."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.cut()

    def hang(self):
        """Take connections and what they bring, and say nothing."""
        self.silent = True


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # with socketserver's 5, of a dozen clients at once some wait a second for another try


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        proxy = self.server.proxy
        with socket.create_connection(proxy.target) as server:
            proxy.sockets |= {self.request, server}
            with contextlib.suppress(OSError):
                self.talk(proxy, {self.request: server, server: self.request})
            proxy.sockets -= {self.request, server}

    def talk(self, proxy, others):
        while True:
            for each in select.select(list(others), [], [])[0]:
                said = each.recv(65536)
                if not said:
                    return
                proxy.sent += each is self.request
                if not proxy.silent:
                    others[each].sendall(said)
