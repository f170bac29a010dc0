"""One function a kind of channel: it sends one message, or raises `Undelivered`.

Each is made once from its settings and the secrets that the environment holds; what it sends depends on nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from binascii import Error as NotBase64
from email import policy
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.config.channels import ChannelKind
from canary_sdk.core.events import Severity
from canary_sdk.errors import CanaryError
from canary_sdk.telemetry.notify.delivery import Undelivered, mail, post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from canary_sdk.core.config.channels import Channel
    from canary_sdk.telemetry.notify.message import Message

    Send = Callable[[Message, float], None]
    """Send a message; the second argument is the wall time now, in seconds."""

MOST_SLACK: Final = 3_000
"""Characters that Slack takes in one block of text."""
MOST_DEDUP: Final = 255
"""Characters that PagerDuty takes as the name of an incident."""


def sender(channel: Channel, environ: Mapping[str, str]) -> Send:
    """Return what sends to this channel.

    Raises: CanaryError, if the environment does not hold a secret, or what a channel needs is not installed.
    """
    secrets = {
        name: _secret(channel, each, environ) for name, each in channel.settings.items() if name.endswith("_env")
    }
    return _SENDERS[channel.kind](channel.settings, secrets)


def _secret(channel: Channel, variable: str, environ: Mapping[str, str]) -> str:
    secret = environ.get(variable, "").strip()
    if not secret:
        raise CanaryError(f"channel {channel.name} needs the environment variable {variable}, which is not set here")
    return secret


# --- Slack ---


def _slack(_: Mapping[str, Any], secrets: Mapping[str, str]) -> Send:
    def send(message: Message, wall: float) -> None:
        blocks = [_section(f"{_SIGNS[message.severity]} *{_mrkdwn(message.title)}*")]
        if message.facts:
            blocks.append(_section("\n".join(f"• {_mrkdwn(fact)}" for fact in message.facts.values())))
        context = f"{message.event} · {message.source} · {message.when}"
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _mrkdwn(context)}]})
        post(secrets["url_env"], _json({"text": _mrkdwn(message.title), "blocks": blocks}), {}, wall)

    return send


_SIGNS: Final = {
    Severity.INFO: ":information_source:",
    Severity.WARNING: ":warning:",
    Severity.CRITICAL: ":rotating_light:",
}


def _section(text: str) -> dict[str, Any]:
    shown = text if len(text) <= MOST_SLACK else f"{text[: MOST_SLACK - 1]}…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": shown}}


def _mrkdwn(text: str) -> str:
    """Write text so that nothing in it is taken for a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- PagerDuty ---


def _pagerduty(settings: Mapping[str, Any], secrets: Mapping[str, str]) -> Send:
    """Trigger and resolve alerts, one an incident, and tell the planned course of a release as change events."""

    def enqueue(event: Mapping[str, object], wall: float, path: str = "/v2/enqueue") -> None:
        body = _json({"routing_key": secrets["routing_key_env"], **event})
        post(f"{settings['url'].rstrip('/')}{path}", body, {}, wall)

    def send(message: Message, wall: float) -> None:
        about = {"summary": message.title, "source": message.source, "timestamp": message.when}
        for incident in message.closes:
            enqueue({"event_action": "resolve", "dedup_key": _dedup(incident)}, wall)
        if message.opens:
            alert = {
                "severity": str(message.severity),
                "component": message.flag_key or "canary",
                "group": message.environment,
                "class": message.event,
                "custom_details": dict(message.facts),
            }
            opened = {"event_action": "trigger", "dedup_key": _dedup(message.opens), "payload": {**about, **alert}}
            enqueue(opened, wall)
        if message.is_change:
            enqueue({"payload": about}, wall, "/v2/change/enqueue")

    return send


def _dedup(incident: str) -> str:
    """Return the name of an incident, shortened so that different ones stay different."""
    if len(incident) <= MOST_DEDUP:
        return incident
    digest = _digest(incident)
    return f"{incident[: MOST_DEDUP - len(digest) - 1]}/{digest}"


def _digest(incident: str) -> str:
    return hashlib.sha256(incident.encode()).hexdigest()[:32]


# --- webhooks ---


def _webhook(settings: Mapping[str, Any], secrets: Mapping[str, str]) -> Send:
    """Sign as the Standard Webhooks specification says, so that receivers verify it with a library they have."""
    secret = _key(secrets["secret_env"])

    def send(message: Message, wall: float) -> None:
        body = _json(message.to_dict())
        at = f"{wall:.0f}"
        signed = hmac.digest(secret, f"{message.id}.{at}.".encode() + body, "sha256")
        headers = {
            "webhook-id": message.id,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }
        post(settings["url"], body, headers, wall)

    return send


def _key(secret: str) -> bytes:
    """Return the bytes of a secret: those after `whsec_` as base64, or else the text itself."""
    prefix, found, encoded = secret.partition("whsec_")
    if prefix or not found:
        return secret.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except NotBase64:
        raise CanaryError("found no base64 after whsec_ in the webhook's secret (not shown)") from None


# --- mail ---


_ON_ONE_LINE: Final = policy.SMTP.clone(max_line_length=400)
"""A title that is folded begins with a blank where it is read again."""


def _email(settings: Mapping[str, Any], secrets: Mapping[str, str]) -> Send:
    login = (secrets["user_env"], secrets["password_env"]) if secrets else None

    def send(message: Message, _: float) -> None:
        letter = EmailMessage(_ON_ONE_LINE)
        letter["From"] = settings["from"]
        letter["To"] = ", ".join(settings["to"])
        letter["Subject"] = message.title
        letter["Date"] = formatdate(message.at)
        letter["Message-ID"] = f"<{message.id}@canary-rollout>"
        letter["Auto-Submitted"] = "auto-generated"
        if incidents := [f"<{_digest(each)}@canary-rollout>" for each in (message.opens, *message.closes) if each]:
            letter["References"] = " ".join(incidents)  # mail programs show what belongs together as one thread
        lines = [message.text, "", *message.facts.values(), "", f"{message.event}, {message.source}, {message.when}"]
        letter.set_content("\n".join(lines))
        mail(settings["server"], settings["tls"], login, letter)

    return send


# --- whatever else apprise knows ---


def _apprise(_: Mapping[str, Any], secrets: Mapping[str, str]) -> Send:
    try:
        import apprise
    except ImportError as error:
        raise CanaryError(f"this channel needs apprise ({error}): pip install 'canary-rollout[apprise]'") from error
    service = apprise.Apprise()
    if not service.add(secrets["url_env"]):
        raise CanaryError("apprise does not know the service that the environment variable names (not shown)")
    kinds = {
        Severity.INFO: apprise.NotifyType.INFO,
        Severity.WARNING: apprise.NotifyType.WARNING,
        Severity.CRITICAL: apprise.NotifyType.FAILURE,
    }

    def send(message: Message, _: float) -> None:
        body = "\n".join([message.text, *message.facts.values()])
        if not service.notify(body=body, title=message.title, notify_type=kinds[message.severity]):
            raise Undelivered("apprise could not send it", is_final=False)

    return send


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_SENDERS: Final[Mapping[ChannelKind, Callable[[Mapping[str, Any], Mapping[str, str]], Send]]] = {
    ChannelKind.SLACK: _slack,
    ChannelKind.PAGERDUTY: _pagerduty,
    ChannelKind.WEBHOOK: _webhook,
    ChannelKind.EMAIL: _email,
    ChannelKind.APPRISE: _apprise,
}
