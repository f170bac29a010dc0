"""How one message leaves: a POST or a mail, with a timeout, and every way in which it can fail told apart.

What is said of a failure never holds an address, a key or a password.
"""

from __future__ import annotations

import smtplib
import ssl
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage, Message

TIMEOUT_S: Final = 10.0
"""How long one step of a delivery may take: to connect, and to wait for the next bytes."""
LONGEST_WAIT_S: Final = 300.0
"""More than this is not waited for, whoever asks for it."""
_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which it is worth trying again."""


class Undelivered(CanaryError):
    """A message was not taken; `is_final` if trying again is no use, else not before `wait_s`, where that was asked."""

    def __init__(self, why: str, *, is_final: bool, wait_s: float = 0.0) -> None:
        """Say why, in words that hold no secret."""
        super().__init__(why)
        self.is_final = is_final
        self.wait_s = wait_s


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: what is posted, and whoever it is meant for, are not another host's business."""

    def redirect_request(self, *_: object) -> None:
        """Leave the answer as it is."""


def post(url: str, body: bytes, headers: Mapping[str, str], wall: float) -> None:
    """Post JSON; `wall` is the time now, by which a date in `Retry-After` is counted.

    Raises: Undelivered.
    """
    try:
        request = Request(url, body, {"Content-Type": "application/json", **headers}, method="POST")  # noqa: S310
        if request.type not in {"http", "https"}:
            raise Undelivered("its address does not begin with https://", is_final=True)
        with build_opener(_Stay()).open(request, timeout=TIMEOUT_S) as response:
            response.read(1)
    except HTTPError as error:
        with error:
            is_final = error.code < 500 and error.code not in _AGAIN
            wait_s = asked_wait_s(error.headers, wall)
            raise Undelivered(f"it answered {error.code}", is_final=is_final, wait_s=wait_s) from None
    except URLError as error:
        raise Undelivered(_reason(error.reason), is_final=False) from None
    except (OSError, HTTPException) as error:
        raise Undelivered(_reason(error), is_final=False) from None
    except ValueError:  # its words hold the address
        raise Undelivered("its address is no URL", is_final=True) from None


def asked_wait_s(headers: Message, wall: float) -> float:
    """Return what `Retry-After` asks for, in seconds, as a number or a date; 0 if it asks for nothing readable."""
    asked = headers.get("Retry-After", "").strip()
    try:
        wait_s = float(asked) if asked.isdigit() else parsedate_to_datetime(asked).timestamp() - wall
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def mail(server: str, tls: str, login: tuple[str, str] | None, message: EmailMessage) -> None:
    """Hand a mail to its server. `tls` is `starttls`, `implicit` or `none`.

    Raises: Undelivered.
    """
    host, port = _host_and_port(server, tls)
    try:
        with _connected(host, port, tls) as smtp:
            if tls == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if login:
                smtp.login(*login)
            refused = smtp.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise Undelivered(f"the server took no recipient: {codes}", is_final=min(codes) >= 500) from None
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"the server answered {error.smtp_code}", is_final=error.smtp_code >= 500) from None
    except smtplib.SMTPNotSupportedError:
        raise Undelivered(
            f"the server does not know what was asked: tls = {tls!r}, or a login", is_final=True
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Undelivered(_reason(error), is_final=False) from None
    if refused:
        raise Undelivered(f"{len(refused)} of the recipients were refused, the others have it", is_final=True)


def _host_and_port(server: str, tls: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, {"starttls": "587", "implicit": "465"}.get(tls, "25")
    return host.strip("[]"), int(port)


def _connected(host: str, port: int, tls: str) -> smtplib.SMTP:
    if tls == "implicit":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=TIMEOUT_S)


def _reason(error: object) -> str:
    """Say what went wrong on the way; of errors that quote what they were given, only which they are."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
