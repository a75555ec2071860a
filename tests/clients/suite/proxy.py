"""A proxy between a client and the API that breaks what a case wants broken."""

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from http import HTTPStatus

_HEAD_BYTES_MAX = 64 * 1024


@dataclass
class Fault:
    """What strikes which requests; see clients/conformance/README.md."""

    kind: str
    path_prefix: str = "/v1/usage"
    skip: int = 0
    times: int = 1
    status: int = 503
    retry_after_s: int | None = None
    delay_ms: int = 0

    def strikes(self, path):
        """Counts a request that nothing else has struck."""
        if not path.startswith(self.path_prefix) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Message:
    """A request or an answer, as bytes: the head with its empty line, and the body."""

    head: bytes
    body: bytes

    @property
    def first_line(self):
        return self.head.split(b"\r\n", 1)[0].decode()

    def with_header(self, name, value):
        """The message with a header in place of those of that name."""
        lines = self.head[:-4].split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(name.encode() + b":")]
        return Message(b"\r\n".join([*kept, f"{name}: {value}".encode(), b"", b""]), self.body)

    def bytes(self):
        return self.head + self.body


@dataclass
class Proxy:
    """Listens on a port of its own, for one case."""

    upstream: tuple
    faults: list = field(default_factory=list)
    port: int = 0
    #: When each request came.
    requests: list = field(default_factory=list)

    async def listen(self):
        """On the same port as before, if there was one."""
        self._connections = set()
        self._work = getattr(self, "_work", set())
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=_HEAD_BYTES_MAX
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def vanish(self):
        """Nobody listens any more, and what is open is reset."""
        self._server.close()
        for writer in list(self._connections):
            reset(writer)

    async def settle(self):
        """Waits until the API has answered all that reached it."""
        while self._work:
            await asyncio.wait(set(self._work))

    async def _serve(self, reader, writer):
        self._connections.add(writer)
        try:
            while request := await read_message(reader):
                await self._answer(request, writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, request, writer):
        self.requests.append(time.monotonic())
        path = request.first_line.split(" ")[1]
        fault = next((fault for fault in self.faults if fault.strikes(path)), None)
        kind = fault.kind if fault else None
        if kind == "reset":
            return reset(writer)
        if kind == "status":
            writer.write(status_answer(fault))
            return await writer.drain()
        delay_s = fault.delay_ms / 1000 if kind == "delay" else 0
        # A task of its own: the API does the work whether the client waits for it or not.
        work = asyncio.ensure_future(self._forward(request, delay_s))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        answer = await asyncio.shield(work)
        if kind == "lose_answer":
            return writer.transport.abort()
        if kind == "cut_answer":
            writer.write(answer.head + answer.body[: len(answer.body) // 2])
            await writer.drain()
            return writer.close()
        writer.write(status_answer(fault) if kind == "status_after" else answer.bytes())
        await writer.drain()

    async def _forward(self, request, delay_s):
        await asyncio.sleep(delay_s)
        reader, writer = await asyncio.open_connection(*self.upstream, limit=_HEAD_BYTES_MAX)
        writer.write(request.with_header("connection", "close").bytes())
        answer = await read_message(reader)
        writer.close()
        return answer.with_header("connection", "keep-alive")


async def read_message(reader):
    """A message with a Content-Length, or without a body. None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        assert name.lower() != b"transfer-encoding", "a message of unknown length"
    return Message(head, await reader.readexactly(length))


def status_answer(fault):
    """What API Gateway says by itself."""
    body = json.dumps({"message": HTTPStatus(fault.status).phrase}).encode()
    head = [f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}"]
    head += ["content-type: application/json", f"content-length: {len(body)}"]
    if fault.retry_after_s is not None:
        head.append(f"retry-after: {fault.retry_after_s}")
    return "\r\n".join([*head, "", ""]).encode() + body


def reset(writer):
    """Ends a connection as a machine does that knows nothing of it."""
    linger = struct.pack("ii", 1, 0)
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
