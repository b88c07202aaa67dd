"""Ports for the servers that tests start."""

import itertools
import os
import random
import socket

# Linux gives those from 32768 on to whoever asks for any port. Until the server has started, that can be a listener or
# a client of another test, or the one who waits for the server and then connects to itself.
FIRST, END = 20_000, 32_768
"""The ports that :func:`free_port` gives."""


def ports_of_worker(number: int, count: int) -> range:
    """Return the ports of one worker of pytest-xdist, of which no other has any.

    :param number: the worker's, from 0; a worker in place of one that crashed has a new one, beyond ``count``.
    :param count: how many workers there are.
    """
    size = (END - FIRST) // count
    first = FIRST + number % count * size
    return range(first, first + size)


def _own_ports() -> list[int]:
    """Return this worker's ports in any order, so that two runs of the tests at once hardly ever use the same."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    ports = ports_of_worker(int(number), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    return random.sample(ports, len(ports))


_ports = itertools.cycle(_own_ports())  # so none is given twice, although it is free until its server has started


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
