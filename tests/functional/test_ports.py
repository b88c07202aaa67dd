"""The ports of the servers that tests start."""

import pytest

from tests.support.ports import END, FIRST, free_port, ports_of_worker, ports_to_choose_from, split


def test_ports_are_not_among_those_that_linux_gives_to_others():
    assert free_port() in range(FIRST, END)


def test_no_port_is_given_twice():
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("count", [1, 3, 8, 64])
def test_no_server_chooses_a_port_that_another_is_given(count):
    own = ports_of_worker(count - 1, count)
    single, ranges = split(own)
    given = [*single, *(port for each in ranges for port in each)]
    assert ranges
    assert sorted(given) == list(own)


def test_two_servers_choose_from_different_ports():
    assert not set(ports_to_choose_from()) & set(ports_to_choose_from())


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_no_two_workers_have_a_port_in_common(count):
    ports = [port for number in range(count) for port in ports_of_worker(number, count)]
    assert len(set(ports)) == len(ports)
    assert len(ports) > END - FIRST - count
    assert min(ports) == FIRST
    assert max(ports) < END


def test_a_worker_in_place_of_one_that_crashed_has_ports():
    assert ports_of_worker(5, 4) == ports_of_worker(1, 4)
