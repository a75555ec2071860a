"""What an answer over HTTP may do to a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from meterline import Meterline, PerhapsRecorded, Refused
from meterline._http import AsyncTransport, SyncTransport
from meterline._protocol import Answer, Attempt, Request
from meterline._settings import Settings

Serve = Callable[[bytes], str]


@pytest.fixture
def serving() -> Iterator[Serve]:
    """Answers each request on a free port with these bytes, and keeps the requests."""
    listeners: list[socket.socket] = []

    def serve(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65_536):
                            pass

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.close()


def client(url: str) -> Meterline:
    return Meterline(url, "mk_secret", retry_budget_s=0, request_timeout_s=2)


def test_a_redirect_is_not_followed(serving: Serve) -> None:
    elsewhere = serving(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    head = f"HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n"
    with client(serving(head.encode())) as meterline, pytest.raises(PerhapsRecorded) as perhaps:
        meterline.emit("cus_1", "read")
    assert "307" in str(perhaps.value)
    assert "secret" not in str(perhaps.value)


def test_an_answer_without_end_is_not_read_to_its_end(serving: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"
    with (
        client(serving(head + b" " * 6_000_000)) as meterline,
        pytest.raises(PerhapsRecorded) as perhaps,
    ):
        meterline.emit("cus_1", "read")
    assert "too long" in str(perhaps.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
    ],
    ids=["nothing", "no HTTP", "a part", "not what it says"],
)
def test_what_is_no_answer_is_perhaps(serving: Serve, answer: bytes) -> None:
    with client(serving(answer)) as meterline, pytest.raises(PerhapsRecorded):
        meterline.emit("cus_1", "read")


def test_an_error_without_a_problem_shows_what_there_is(serving: Serve) -> None:
    answer = b'HTTP/1.1 403 Forbidden\r\ncontent-length: 24\r\n\r\n{"message": "Forbidden"} '
    with client(serving(answer)) as meterline, pytest.raises(Refused) as refused:
        meterline.emit("cus_1", "read")
    assert (refused.value.type, refused.value.detail) == ("about:blank", "Forbidden")


def test_an_answer_says_when_it_was_made_and_when_to_come_again() -> None:
    head = {"retry-after": "Wed, 21 Oct 2026 07:28:07 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    transport = httpx.MockTransport(lambda request: httpx.Response(503, headers=head))
    settings = Settings.checked("http://meterline.test", "mk_secret", 0, 2, None, None)

    async def attempt() -> Attempt:
        return await AsyncTransport(settings, transport).attempt(Request("GET", "/"))

    expected = Answer(503, b"", retry_after=head["retry-after"], date=head["date"])
    assert SyncTransport(settings, transport).attempt(Request("GET", "/")) == expected
    assert asyncio.run(attempt()) == expected


def test_nobody_there_is_perhaps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with client(f"http://127.0.0.1:{port}") as meterline, pytest.raises(PerhapsRecorded):
        meterline.emit("cus_1", "read")
