"""A signed override: a text that has one request served a variant, for whoever tries it out.

The text travels in the header `Canary-Override`, the query parameter or the cookie `canary_override`. It is

    base64url(JSON {"flags": {flag key: variant}, "environment": …, "until": …, "actor": …}) "." base64url(MAC)

without padding; `until` is wall seconds, and the MAC is HMAC-SHA256 over "canary-override-1." and what stands before
the dot. Whoever has the secret can make one; it is named by an environment variable, and never logged. What is not
signed, has expired or is of another environment is counted, and the request goes on as any other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from canary_sdk.runtime.client import Canary

    Traffic = Mapping[str, Any]
    Parts = tuple[str, str, str]
    """A request's header, query and cookies."""

NAME: Final = "canary_override"
"""The query parameter, and the cookie."""
SECRET_VARIABLE: Final = "CANARY_OVERRIDE_SECRET"  # noqa: S105 - the name of one
LEAST_SECRET: Final = 32
"""How many characters a secret has at least."""
MOST_TEXT: Final = 2_048
"""How long an override is at most."""
VERSION: Final = b"canary-override-1."
COOKIE: Final = re.compile(rf"(?:^|;)\s*{NAME}=([^;\s]*)")


class Override(NamedTuple):
    """What is forced, where, until when (wall seconds), and who allowed it."""

    flags: Mapping[str, str]
    environment: str
    until: float
    actor: str = ""


def secret_of(variable: str) -> bytes:
    """Return the secret that an environment variable holds. Raises `CanaryError` where it holds none that is good."""
    secret = os.environ.get(variable, "")
    if len(secret) < LEAST_SECRET:
        found = f"{len(secret)} characters" if secret else "nothing"
        raise CanaryError(f"{variable}: found {found}, expected a secret of at least {LEAST_SECRET} characters")
    return secret.encode()


def sign(override: Override, secret: bytes) -> str:
    """Write an override as a text. Raises `CanaryError` if that is too long."""
    body = _encoded(json.dumps(override._asdict(), separators=(",", ":"), sort_keys=True).encode())
    text = f"{body}.{_mac(body, secret)}"
    if len(text) > MOST_TEXT:
        raise CanaryError(
            f"found an override of {len(text)} characters, expected at most {MOST_TEXT}: name fewer flags"
        )
    return text


def read(text: str, secret: bytes, environment: str) -> Override:
    """Return what a text says. Raises `ValueError` unless it was signed with this secret, and for this environment.

    Signatures are compared in constant time.
    """
    body, _, mac = text.partition(".")
    if len(text) > MOST_TEXT or not text.isascii() or not hmac.compare_digest(mac, _mac(body, secret)):
        raise ValueError("it is not signed with this secret")
    override = Override(**json.loads(_decoded(body)))
    if override.environment != environment:
        raise ValueError(f"it is for the environment {override.environment!r}")
    return override


def _mac(body: str, secret: bytes) -> str:
    return _encoded(hmac.digest(secret, VERSION + body.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- in a request ---


class Overriding:
    """Serves what requests are signed for, in the unit of work that is open. Never raises."""

    def __init__(self, canary: Canary, variable: str) -> None:
        """Read the secret; raises `CanaryError` where there is none, because somebody meant there to be one."""
        self._canary = canary
        self._secret = secret_of(variable)

    def asgi(self, app: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return an application that looks at each request and goes on to `app`."""

        async def overridden(scope: Any, receive: Any, send: Any) -> Any:
            if scope["type"] == "http":
                self._serve(scope, _asgi_parts)
            return await app(scope, receive, send)

        return overridden

    def wsgi(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """Return an application that looks at each request and goes on to `app`."""

        def overridden(environ: Any, start_response: Any) -> Any:
            self._serve(environ, _wsgi_parts)
            return app(environ, start_response)

        return overridden

    def _serve(self, traffic: Traffic, parts_of: Callable[[Traffic], Parts]) -> None:
        try:
            text = _text(*parts_of(traffic))
            if text:
                override = read(text, self._secret, self._canary.environment)
                self._canary.force(override.flags, until=override.until, actor=override.actor)
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            with suppress(Exception):
                self._canary.failures.note(("a signed override", error, "The request was served as any other"))


def _text(header: str, query: str, cookies: str) -> str:
    """Return the override that a request brings: the header's before the query's, the cookie's last."""
    if header:
        return header.strip()
    if NAME in query:
        return parse_qs(query).get(NAME, [""])[0]
    found = COOKIE.search(cookies) if NAME in cookies else None
    return found[1] if found else ""


def _asgi_parts(scope: Traffic) -> Parts:
    header, cookies = b"", []
    for name, value in scope["headers"]:
        if name == b"cookie":
            cookies.append(value)
        elif name == b"canary-override":
            header = value
    return header.decode("latin-1"), scope["query_string"].decode("latin-1"), b"; ".join(cookies).decode("latin-1")


def _wsgi_parts(environ: Traffic) -> Parts:
    return environ.get("HTTP_CANARY_OVERRIDE", ""), environ.get("QUERY_STRING", ""), environ.get("HTTP_COOKIE", "")
