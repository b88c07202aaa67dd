"""A TCP proxy in front of a database server, which can cut connections, refuse them, hang, or garble."""

import contextlib
import select
import socket
import socketserver
import threading


class Proxy:
    """Forwards connections to its ``port``; ``sent`` counts what clients sent."""

    def __init__(self, host, port):
        self.target = host, port
        self.port = 0
        self.sent = 0
        self.sockets = set()
        self._server = None
        self.come_back()

    def come_back(self):
        """Listen, and forward."""
        self.silent = self.garbled = False
        self.cut()
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Connection)
            self._server.proxy = self
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self):
        """Close all connections."""
        for each in list(self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def refuse(self):
        """Close all connections, and accept none."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.cut()

    def garble(self):
        """Replace each response by one that no driver understands."""
        self.garbled = True

    def hang(self):
        """Accept connections and what they send, and respond nothing."""
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
                received = each.recv(65536)
                if not received:
                    return
                proxy.sent += each is self.request
                if proxy.garbled and each is not self.request:
                    received = bytes(len(received))
                if not proxy.silent:
                    others[each].sendall(received)
