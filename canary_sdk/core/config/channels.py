"""Where people are told, as configured: `[notify.NAME]`. What is secret stands in the environment, here only its name.

    slack       an incoming webhook                        url_env
    pagerduty   the Events API v2                          routing_key_env, and url for another region
    webhook     JSON, signed as Standard Webhooks are      url, secret_env
    email       SMTP                                       server, from, to, and user_env with password_env
    apprise     any service that apprise knows             url_env

The kind is the name, where that is one of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.events import Severity
from canary_sdk.core.reading import collect, either, entries, filled, hint, list_of, mapping, missing, name, say, string
from canary_sdk.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.reading import Reader


class ChannelKind(StrEnum):
    """What kind of place it is."""

    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"
    EMAIL = "email"
    APPRISE = "apprise"


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where people are told of what is at least as severe as `level`, in all environments or `only_in` some.

    `settings` are those of its kind, with every default filled in; what ends in `_env` names an environment variable.
    """

    name: str
    kind: ChannelKind
    level: Severity
    only_in: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChannelDeclaration:
    """A channel as declared. `fields` is a plain dict of JSON values in canonical form."""

    key: str
    fields: Mapping[str, Any]

    @property
    def channel(self) -> Channel:
        """Where people are told."""
        kind = ChannelKind(self.fields.get("kind", self.key))
        own = {each: value for each, value in self.fields.items() if each not in _COMMON}
        level = self.fields.get("level", Severity.CRITICAL if kind is ChannelKind.PAGERDUTY else Severity.INFO)
        only_in = tuple(self.fields.get("only_in", ()))
        return Channel(self.key, kind, Severity(level), only_in, {**_DEFAULTS.get(kind, {}), **own})


def read_channel(key: str, found: object) -> ChannelDeclaration:
    """Read one channel.

    Raises:
        ConfigError: with all mistakes, at paths below the table.
    """
    name(key)
    table = mapping(found)
    problems: list[Problem] = []
    kinds = [str(each) for each in ChannelKind]
    kind = table.get("kind", key)
    if kind not in kinds:
        if "kind" in table:
            raise ConfigError([Problem(("kind",), _one_of(kinds, kind))])
        raise ConfigError([Problem(("kind",), f"found nothing, expected {either(kinds)}{hint(key, kinds)}")])
    own = _SETTINGS[ChannelKind(kind)]
    fields = collect(entries(table, {**_COMMON, **own}), problems)
    problems += missing(table, _NEEDS[ChannelKind(kind)])
    if ("user_env" in table) is not ("password_env" in table):
        problems.append(Problem(("user_env",), "found only one of user_env and password_env, expected both or none"))
    if problems:
        raise ConfigError(problems)
    return ChannelDeclaration(key, fields)


# --- single values ---

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST: Final = r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_SERVER: Final = re.compile(_HOST, re.ASCII)
_URL: Final = re.compile(rf"https?://(?P<user>[^@/\s]*@)?{_HOST}(?:/\S*)?", re.ASCII)
_MOST_PORT: Final = 65_535
_ADDRESS: Final = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")


def _variable(found: object) -> str:
    """Read the name of an environment variable. What is none is not shown: it may be the secret itself."""
    if not isinstance(found, str) or not _VARIABLE.fullmatch(found):
        raise ValueError(
            "found what is no name of an environment variable (and is not shown, it may be a secret), "
            "expected a name such as 'SLACK_WEBHOOK_URL'"
        )
    return found


def _url(found: object) -> str:
    """Read an address that is no secret. What it may hold of one is not shown."""
    written = _URL.fullmatch(string(found))
    if not written or int(written["port"] or 0) > _MOST_PORT:
        raise ValueError("found no address (not shown, it may hold a secret), expected https://host/path")
    if written["user"]:
        raise ValueError("found an address with a user in it (not shown), expected one without")
    return written[0]


def _server(found: object) -> str:
    written = _SERVER.fullmatch(string(found))
    if not written or int(written["port"] or 0) > _MOST_PORT:
        raise ValueError(f"found {say(found)}, expected a mail server such as 'smtp.example.com:587'")
    return written[0]


def _address(found: object) -> str:
    address = string(found)
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"found {say(found)}, expected an address such as 'oncall@example.com'")
    return address


def _addresses(found: object) -> list[str]:
    addresses: list[str] = list_of(_address, "addresses")(found)
    if not addresses:
        raise ValueError("found an empty list, expected at least one address")
    return addresses


def _choice(choices: list[str]) -> Reader:
    def read(found: object) -> str:
        if found not in choices:
            raise ValueError(_one_of(choices, found))
        return str(found)

    return read


def _one_of(choices: list[str], found: object) -> str:
    return f"found {say(found)}, expected {either(choices)}{hint(found, choices)}"


_COMMON: Final[Mapping[str, Reader]] = {
    "kind": string,
    "level": _choice([str(each) for each in Severity]),
    "only_in": list_of(filled),
}
_SETTINGS: Final[Mapping[ChannelKind, Mapping[str, Reader]]] = {
    ChannelKind.SLACK: {"url_env": _variable},
    ChannelKind.PAGERDUTY: {"routing_key_env": _variable, "url": _url},
    ChannelKind.WEBHOOK: {"url": _url, "secret_env": _variable},
    ChannelKind.EMAIL: {
        "server": _server,
        "from": _address,
        "to": _addresses,
        "tls": _choice(["starttls", "implicit", "none"]),
        "user_env": _variable,
        "password_env": _variable,
    },
    ChannelKind.APPRISE: {"url_env": _variable},
}
_NEEDS: Final[Mapping[ChannelKind, Mapping[str, str]]] = {
    ChannelKind.SLACK: {"url_env": "the environment variable that holds the webhook's URL"},
    ChannelKind.PAGERDUTY: {"routing_key_env": "the environment variable that holds the integration key"},
    ChannelKind.WEBHOOK: {
        "url": "where it is sent",
        "secret_env": "the environment variable that holds the secret it is signed with",
    },
    ChannelKind.EMAIL: {"server": "the mail server", "from": "the sender's address", "to": "a list of addresses"},
    ChannelKind.APPRISE: {"url_env": "the environment variable that holds the URL of the service"},
}
_DEFAULTS: Final[Mapping[ChannelKind, dict[str, Any]]] = {
    ChannelKind.PAGERDUTY: {"url": "https://events.pagerduty.com"},
    ChannelKind.EMAIL: {"tls": "starttls"},
}
