import socket

import pytest

from deploy.ports import HOST, free_ports, is_free, listen


def test_a_bound_port_is_not_free():
    with listen(0) as listener:
        assert not is_free(listener.getsockname()[1])


def test_a_port_that_is_taken_cannot_be_listened_on():
    with listen(0) as listener, pytest.raises(OSError, match="in use"):
        listen(listener.getsockname()[1])


def test_free_ports_are_free_with_their_partners():
    first = free_ports(5, partner=10_000)
    assert all(is_free(port) and is_free(port + 10_000) for port in range(first, first + 5))
    assert first + 5 + 10_000 <= 32_768


def test_free_ports_pass_over_what_is_taken(monkeypatch):
    taken = free_ports(2)
    choices = iter([taken, taken + 1, free_ports()])
    monkeypatch.setattr("deploy.ports.random.randint", lambda low, high: next(choices))
    with socket.socket() as first, socket.socket() as second:
        first.bind((HOST, taken))
        second.bind((HOST, taken + 1))
        assert free_ports() not in (taken, taken + 1)


def test_no_free_port_is_an_error(monkeypatch):
    monkeypatch.setattr("deploy.ports.is_free", lambda port: False)
    with pytest.raises(OSError, match="no free ports"):
        free_ports()
