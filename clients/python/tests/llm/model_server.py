"""A local server that speaks the protocols of Anthropic and OpenAI, as their references describe
them, with the answers that a test gives it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Plain:
    """An answer in one piece."""

    document: Json
    status: int = 200


@dataclass
class Streamed:
    """Server-sent events: each a name, or none, and its data."""

    events: list[tuple[str | None, Json | str]]
    #: The connection breaks before this event.
    breaks_before: int | None = None
    #: This event is held back until :attr:`goes_on` is set.
    holds_before: int | None = None
    goes_on: threading.Event = field(default_factory=threading.Event)


@dataclass
class ModelServer:
    """What it was asked, and what it answers next."""

    url: str = ""
    answers: list[Plain | Streamed] = field(default_factory=list)
    requests: list[tuple[str, Json]] = field(default_factory=list)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Serves on a free port."""
    server = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            # A reader that has left, as some tests do, may break the connection.
            with suppress(ConnectionResetError):
                super().handle()

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            server.requests.append((self.path, json.loads(self.rfile.read(length))))
            answer = server.answers.pop(0)
            if isinstance(answer, Plain):
                self._send(answer.status, "application/json", json.dumps(answer.document).encode())
            else:
                self._stream(answer)

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, answer: Streamed) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for index, event in enumerate(answer.events):
                    if index == answer.breaks_before:
                        self.close_connection = True
                        return
                    if index == answer.holds_before:
                        answer.goes_on.wait()
                    self._chunk(encoded(*event))
                self._chunk(b"")
            except (BrokenPipeError, ConnectionResetError):
                # The reader has left, as some tests do.
                self.close_connection = True

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def encoded(name: str | None, data: Json | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


# Anthropic, "Messages" and "Streaming Messages".


def message(usage: Json, content: list[Json] | None = None, stop_reason: str = "end_turn") -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": content if content is not None else [{"type": "text", "text": "A summary."}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def message_stream(start_usage: Json, delta_usage: Json, tool: bool = False) -> Streamed:
    block: Json = {"type": "text", "text": ""}
    deltas: list[Json] = [{"type": "text_delta", "text": text} for text in ("A ", "summary.")]
    if tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": text} for text in ('{"word":', '"a"}')
        ]
    start = {**message(start_usage, []), "stop_reason": None}
    reason = "tool_use" if tool else "end_turn"
    data: list[Json] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": delta_usage,
        },
        {"type": "message_stop"},
    ]
    return Streamed([(each["type"], each) for each in data])


# OpenAI, "Chat" and "Responses".


def completion(usage: Json | None) -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "A summary."},
        "finish_reason": "stop",
    }
    document: Json = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_769_860_800,
        "model": "gpt-5-mini",
        "choices": [choice],
    }
    return document if usage is None else {**document, "usage": usage}


def chunks(usage: Json | None, tool: bool = False) -> Streamed:
    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        document = {**completion(None), "object": "chat.completion.chunk", "choices": [choice]}
        return document if usage is None else {**document, "usage": None}

    deltas: list[Json] = [
        {"role": "assistant", "content": ""},
        {"content": "A "},
        {"content": "summary."},
    ]
    if tool:
        call = {"index": 0, "id": "call_1", "type": "function"}
        deltas = [
            {
                "role": "assistant",
                "tool_calls": [{**call, "function": {"name": "look_up", "arguments": ""}}],
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"word":"a"}'}}]},
        ]
    events = [chunk(delta) for delta in deltas] + [chunk({}, "tool_calls" if tool else "stop")]
    if usage is not None:
        events.append({**events[-1], "choices": [], "usage": usage})
    return Streamed([*((None, event) for event in events), (None, "[DONE]")])


def response(usage: Json | None, status: str = "completed") -> Json:
    text = {"type": "output_text", "text": "A summary.", "annotations": []}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_769_860_800,
        "status": status,
        "model": "gpt-5-mini",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def response_stream(usage: Json | None, end: str = "completed") -> Streamed:
    begun = {**response(None, "in_progress"), "output": []}
    done = response(None)["output"][0]
    part = done["content"][0]
    item = {**done, "status": "in_progress", "content": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    data: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", "logprobs": [], **place, "delta": part["text"]},
        {"type": "response.output_text.done", "logprobs": [], **place, "text": part["text"]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": f"response.{end}", "response": response(usage, end)},
    ]
    numbered = [{**each, "sequence_number": number} for number, each in enumerate(data)]
    return Streamed([(each["type"], each) for each in numbered])
