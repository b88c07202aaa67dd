"""Ports for the servers that tests start."""

import itertools
import os
import random
import socket

# Those from 32768 on Linux gives to whoever asks for any port, until the server has started: to listeners and clients
# of other tests, or to the one who waits for the server, who then connects to itself.
FIRST, END = 20_000, 32_768
"""The ports that :func:`free_port` gives."""


def ports_of_worker(number: int, count: int) -> range:
    """Return the ports of one worker of pytest-xdist, of which no other has any.

    :param number: the worker's, from 0.
    :param count: how many workers there are.
    """
    size = (END - FIRST) // count
    first = FIRST + number % count * size  # a worker in place of one that crashed has a number of its own
    return range(first, first + size)


def _own_ports() -> range:
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return ports_of_worker(int(number), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


# In any order, so that two runs of the tests at once hardly ever get the same; and none twice, although it is free
# until its server has started.
_ports = itertools.cycle(random.sample(_own_ports(), len(_own_ports())))


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    return next(filter(_is_free, _ports))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
