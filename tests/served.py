"""A local OpenAI-compatible server in a thread, whose replies a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: A request's body to (status, body): a dict is sent as JSON, text as it is; None closes the connection unanswered.
Reply = Callable[[dict[str, Any]], tuple[int, dict[str, Any] | str] | None]


class Served:
    """The server's URL and every request that reached it, with its path and headers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []


def said(text: str | None, *, finish: str = "stop", tokens: tuple[int, int] | None = (10, 2), **message: Any) -> Any:
    """A chat completion with one choice; ``tokens`` are prompt and completion."""
    body: dict[str, Any] = {
        "id": "one",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
    }
    if tokens:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return 200, body


def failed(status: int, message: str, **error: Any) -> Any:
    """An error in the form of the OpenAI interface."""
    return status, {"error": {"message": message, **error}}


def last(request: dict[str, Any]) -> str:
    """What the request says last."""
    return str(request["messages"][-1]["content"])


@contextmanager
def serve(reply: Reply) -> Iterator[Served]:
    """Serve ``reply`` on a free local port; errors ask for a repetition after 1 ms."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                served.requests.append(request)
                served.paths.append(self.path)
                served.keys.append(self.headers.get("Authorization"))
            found = reply(request)
            if found is None:
                self.close_connection = True
                self.connection.close()
                return
            status, body = found
            data = (json.dumps(body) if isinstance(body, dict) else body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if isinstance(body, dict) else "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
