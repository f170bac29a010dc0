"""Serves with worker processes of `multiprocessing`, with threads, or with greenlets of gevent.

python processes.py fork|spawn|threads|gevent PORT
"""

from __future__ import annotations

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey  # type: ignore[import-untyped,import-not-found,unused-ignore]

    monkey.patch_all()

import multiprocessing
import signal
import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from plain import application  # type: ignore[import-not-found]  # it lies beside this script

WORKERS = 2


class Quiet(WSGIRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Threaded(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128


def serve(listening: socket.socket) -> None:
    """Serve on a socket that is shared with others."""
    server = Threaded(("127.0.0.1", 0), Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = "127.0.0.1", listening.getsockname()[1]
    server.setup_environ()
    server.set_app(application)
    server.serve_forever()


def leave(*_: Any) -> None:
    """End this process as Python ends one."""
    sys.exit(0)


def work(listening: socket.socket) -> None:
    """Serve in a worker process until told to leave."""
    signal.signal(signal.SIGTERM, leave)
    serve(listening)


def main(method: str, port: int) -> None:
    """Serve until told to leave."""
    listening = socket.create_server(("127.0.0.1", port), backlog=128)
    signal.signal(signal.SIGTERM, leave)
    if method == "threads":
        serve(listening)
    elif method == "gevent":
        from gevent.pywsgi import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
            WSGIServer as GeventServer,
        )

        GeventServer(listening, application, log=None).serve_forever()
    context: Any = multiprocessing.get_context(method)
    workers = [context.Process(target=work, args=(listening,)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
