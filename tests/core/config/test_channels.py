"""Claims about channels: what may be declared is read whole, with what was left out filled in."""

from __future__ import annotations

from typing import Any

import pytest

from canary_sdk.core.config.channels import Channel, ChannelKind
from canary_sdk.core.config.configuration import parse_channel
from canary_sdk.core.events import Severity
from canary_sdk.errors import ConfigError

MAIL = {"server": "smtp.example.com", "from": "robot@example.com", "to": ["oncall@example.com"]}
HOOK = {"url": "https://example.com/hook", "secret_env": "SECRET"}

DECLARED: dict[str, tuple[str, dict[str, Any], Channel]] = {
    "slack": (
        "slack",
        {"url_env": "HOOK"},
        Channel("slack", ChannelKind.SLACK, Severity.INFO, (), {"url_env": "HOOK"}),
    ),
    "pagerduty": (
        "pagerduty",
        {"routing_key_env": "_KEY2"},
        Channel(
            "pagerduty",
            ChannelKind.PAGERDUTY,
            Severity.CRITICAL,
            (),
            {"url": "https://events.pagerduty.com", "routing_key_env": "_KEY2"},
        ),
    ),
    "pagerduty elsewhere": (
        "night",
        {
            "kind": "pagerduty",
            "level": "warning",
            "only_in": ["production", "eu"],
            "routing_key_env": "KEY",
            "url": "https://events.eu.pagerduty.com:65535/x?y",
        },
        Channel(
            "night",
            ChannelKind.PAGERDUTY,
            Severity.WARNING,
            ("production", "eu"),
            {"url": "https://events.eu.pagerduty.com:65535/x?y", "routing_key_env": "KEY"},
        ),
    ),
    "webhook": ("webhook", HOOK, Channel("webhook", ChannelKind.WEBHOOK, Severity.INFO, (), HOOK)),
    "email": ("email", MAIL, Channel("email", ChannelKind.EMAIL, Severity.INFO, (), {"tls": "starttls", **MAIL})),
    "email with a user": (
        "email",
        {**MAIL, "server": "[2001:db8::1]:65535", "tls": "implicit", "user_env": "USER", "password_env": "PASSWORD"},
        Channel(
            "email",
            ChannelKind.EMAIL,
            Severity.INFO,
            (),
            {
                **MAIL,
                "server": "[2001:db8::1]:65535",
                "tls": "implicit",
                "user_env": "USER",
                "password_env": "PASSWORD",
            },
        ),
    ),
    "apprise": (
        "chat",
        {"kind": "apprise", "url_env": "CHAT"},
        Channel("chat", ChannelKind.APPRISE, Severity.INFO, (), {"url_env": "CHAT"}),
    ),
}


@pytest.mark.parametrize(("key", "fields", "channel"), DECLARED.values(), ids=DECLARED)
def test_a_channel_is_what_was_declared(key: str, fields: dict[str, Any], channel: Channel) -> None:
    """With the defaults of its kind; what is stored is what was declared, and reads the same again."""
    declaration = parse_channel(key, fields)
    assert declaration.channel == channel
    assert (declaration.key, declaration.fields) == (key, fields)
    assert parse_channel(key, declaration.fields) == declaration


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"to": "oncall@example.com"}, "to: found 'oncall@example.com', expected a list of addresses"),
        ({"to": [""]}, "to.0: found '', expected an address such as 'oncall@example.com'"),
        ({"server": "x:65536"}, "server: found 'x:65536', expected a mail server such as 'smtp.example.com:587'"),
        ({"password_env": "P"}, "user_env: found only one of user_env and password_env, expected both or none"),
        (
            {"user_env": "not a name", "password_env": "P"},
            (
                "user_env: found what is no name of an environment variable (and is not shown, it may be a secret), "
                "expected a name such as 'SLACK_WEBHOOK_URL'"
            ),
        ),
    ],
)
def test_what_mail_cannot_be_sent_by_is_refused(fields: dict[str, Any], problem: str) -> None:
    """One mistake, one sentence, at its key."""
    with pytest.raises(ConfigError) as caught:
        parse_channel("email", {**MAIL, **fields})
    assert [str(each) for each in caught.value.problems] == [f"notify.email.{problem}"]
