"""Receiving ends on the loopback that misbehave if they are told to: HTTP, and SMTP with everything it may ask for."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from email.message import EmailMessage


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class HttpEnd:
    """What was received, the newest last; `answers` are the statuses and headers to answer next, then 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.is_silent = False  # hangs up without an answer
        self.hears = Event()  # answers only while this is set
        self.hears.set()
        self.url = ""


@contextmanager
def http_end() -> Iterator[HttpEnd]:
    """Receive over HTTP."""
    end = HttpEnd()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            end.received.append(Received(self.path, {name.lower(): each for name, each in self.headers.items()}, body))
            end.hears.wait()
            if end.is_silent:
                self.close_connection = True
                return
            status, headers = end.answers.popleft() if end.answers else (200, {})
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    end.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield end
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class MailEnd:
    """The mails that were taken; `refusal` is what is answered instead, while there is one."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.tls: list[bool] = []
        self.refusal = ""
        self.server = ""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: Any, __: Any, envelope: Any, address: str, ___: Any
    ) -> str:
        """Take a recipient."""
        if self.refusal.startswith("4"):
            return self.refusal
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a letter."""
        if self.refusal:
            return self.refusal
        self.letters.append(message_from_bytes(envelope.content, policy=policy.default))
        self.tls.append(session.ssl is not None)
        return "250 OK"


@contextmanager
def mail_end(tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None) -> Iterator[MailEnd]:
    """Receive over SMTP; with `tls` only after STARTTLS, with `login` only from who knows it."""
    end = MailEnd()

    def authenticate(_: Any, __: Any, ___: Any, ____: Any, data: object) -> AuthResult:
        return AuthResult(
            success=isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == login,
            handled=False,
        )

    def mailbox() -> SMTP:
        return SMTP(
            end,
            hostname="localhost",
            tls_context=tls,
            require_starttls=tls is not None,
            auth_required=login is not None,
            authenticator=authenticate,
        )

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(mailbox, "127.0.0.1", 0))
    host, port = server.sockets[0].getsockname()
    end.server = f"{host}:{port}"
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield end
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(_ended(asyncio.all_tasks(loop)))
        loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """End what a connection left running."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
