"""What the stack asks its own API."""

import socket
from threading import Thread

import pytest

from deploy.embedded import get_json
from deploy.ports import listen

OK = b"HTTP/1.1 200 OK\r\n"


def answered(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (OK + b'Content-Length: 9\r\n\r\n{"a": 1}\n', {"a": 1}),
        (OK + b"Content-Length: 9\r\n\r\n", {}),  # killed after the headers
        (OK + b'Content-Length: 9\r\n\r\n{"a"', {}),
        (OK, {}),
        (b"HTT", {}),
        (b"", {}),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 2\r\n\r\n{}", {}),
        (OK + b"Content-Length: 2\r\n\r\n[]", {}),
        (OK + b"Content-Length: 2\r\n\r\nup", {}),
    ],
)
def test_what_is_no_whole_object_is_none(answer: bytes, found: dict[str, int]) -> None:
    with listen(0) as listener:
        thread = Thread(target=answered, args=(listener, answer))
        thread.start()
        port = listener.getsockname()[1]
        assert get_json(f"http://127.0.0.1:{port}/readyz") == found
        thread.join()


def test_an_address_where_nobody_listens() -> None:
    with listen(0) as listener:
        port = listener.getsockname()[1]
    assert get_json(f"http://127.0.0.1:{port}/readyz") == {}
