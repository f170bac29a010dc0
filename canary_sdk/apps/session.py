"""What a verb of the command line is given: the store it speaks to, who asks and why; and how a refusal is told.

Exit codes: 0 it was done, 1 it was refused, 2 it could not be asked so.
"""

from __future__ import annotations

import functools
import getpass
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from canary_sdk.compose import DEFAULT_URL, ENVIRONMENT_VARIABLE, URL_VARIABLE
from canary_sdk.errors import CanaryError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary

    Verb = TypeVar("Verb", bound=Callable[..., None])

REFUSED: Final = 1


@dataclass(frozen=True, slots=True)
class Session:
    """Who speaks to which store. `environment` is None where none was named: then a flag's own fields are meant."""

    store: str
    environment: str | None
    actor: str = ""
    reason: str = ""

    @contextmanager
    def canary(self, *, create: bool = False) -> Iterator[Canary]:
        """Open the store for one verb: only those that `notify` names are told; a file is made only to `create` it."""
        from canary_sdk.compose import operate

        try:
            canary = operate(self.store, environment=self.environment, actor=self.actor, create=create)
        except CanaryError as error:
            raise click.UsageError(str(error)) from None
        with canary:
            yield canary


_SPEAKING: Final = (
    click.option(
        "--store",
        envvar=URL_VARIABLE,
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help=f"Where the flags are kept; {URL_VARIABLE} if not given.",
    ),
    click.option(
        "--environment",
        envvar=ENVIRONMENT_VARIABLE,
        metavar="NAME",
        help=f"The environment that is meant; {ENVIRONMENT_VARIABLE} if not given.",
    ),
)
_SIGNING: Final = (
    click.option("--actor", metavar="NAME", help="Who does it; your login name if not given."),
    click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the history."),
)
_PRINTING: Final = (click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines."),)


def reading(verb: Verb) -> Verb:
    """Make a verb that looks: it gets a `Session`, and `as_json`."""
    return _made(verb, *_SPEAKING, *_PRINTING)


def writing(verb: Verb) -> Verb:
    """Make a verb that changes: it gets a signed `Session`."""
    return _made(verb, *_SPEAKING, *_SIGNING)


def _made(verb: Verb, *options: Callable[[Any], Any]) -> Verb:
    @functools.wraps(verb)
    def run(*, store: str, environment: str | None, actor: str | None = None, reason: str = "", **rest: Any) -> None:
        with refusals():
            verb(Session(store, environment or None, actor or login(), reason), **rest)

    made: Any = run
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return] # the same but for its options


@contextmanager
def refusals() -> Iterator[None]:
    """Tell a refusal, each of its problems on a line, and leave with its exit code."""
    try:
        yield
    except ConfigError as error:
        refuse(str(error))
    except CanaryError as error:
        refuse(f"canary: {error}")


def refuse(words: str) -> NoReturn:
    """Say why not, and leave."""
    click.echo(words, err=True)
    sys.exit(REFUSED)


def login() -> str:
    """Return the login name, as far as there is one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def count(many: int, noun: str) -> str:
    """Say how many: `1 flag`, `2 flags`."""
    return f"{many} {noun}{'' if many == 1 else 's'}"


def print_json(data: object) -> None:
    """Write it for machines."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))
