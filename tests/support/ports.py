"""Ports for the servers that tests start."""

import itertools
import os
import random
import socket

# Linux gives those from 32768 on to whoever asks for any port. Until the server has started, that can be a listener or
# a client of another test, or the one who waits for the server and then connects to itself.
FIRST, END = 20_000, 32_768
"""The ports that are given."""
LENGTH = 32
"""How many ports a server may choose from."""


def ports_of_worker(number: int, count: int) -> range:
    """Return the ports of one worker of pytest-xdist, of which no other has any.

    :param number: the worker's, from 0; a worker in place of one that crashed has a new one, beyond ``count``.
    :param count: how many workers there are.
    """
    size = (END - FIRST) // count
    first = FIRST + number % count * size
    return range(first, first + size)


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    return next(filter(_is_free, _single))


def ports_to_choose_from() -> range:
    """Return ports for a server that binds any of them, now and later; ``free_port`` gives none of these."""
    return next(_ranges)


def split(ports: range) -> tuple[list[int], list[range]]:
    """Return the ports to give one by one, and those to give as ranges, in any order.

    So two runs of the tests at once hardly ever use the same.
    """
    *firsts, end = range(ports.start, ports.start + len(ports) // 4, LENGTH)
    ranges = [range(first, first + LENGTH) for first in firsts]
    single = range(end, ports.stop)
    return random.sample(single, len(single)), random.sample(ranges, len(ranges))


def _own_ports() -> range:
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return ports_of_worker(int(number), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


# None is given twice, although it is free until its server has started.
_single, _ranges = map(itertools.cycle, split(_own_ports()))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
