"""A server on this machine that speaks OpenAI's chat completions protocol."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: an object for JSON, or bytes."""


def completion(text: str) -> Reply:
    """What the protocol answers."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {}, {"id": "1", "object": "chat.completion", "choices": [choice]}


class ChatServer:
    """A running server.

    Attributes:
        base_url: For clients.
        requests: What was asked: path, headers by their names in lower case, and body.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def port(self) -> int:
        """Of this machine."""
        port = urlsplit(self.base_url).port
        assert port is not None
        return port

    @property
    def questions(self) -> list[str]:
        """The texts of all requests."""
        return [body["messages"][-1]["content"] for _, _, body in self.requests]


@contextmanager
def chat_server(answer: Callable[[dict[str, Any], int], Reply], port: int = 0) -> Iterator[ChatServer]:
    """Serves until the block ends.

    Args:
        answer: From a request's body and its number to the reply.
        port: Of a server that was there before; 0 takes a free one.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                running.requests.append((self.path, headers, body))
                number = len(running.requests)
            status, headers, content = answer(body, number)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            with suppress(BrokenPipeError):  # of a client that no longer waits
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    running = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
