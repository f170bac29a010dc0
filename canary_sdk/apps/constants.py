"""Writes the keys of flags as a module of constants, so that a type checker knows them. Same flags, same text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.core.flags.flag import FlagType
from canary_sdk.errors import CanaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DOCSTRING: Final = "The flags of this application. Written by `canary generate`; a change here is lost."
"""How a module begins that was written here."""
HEAD: Final = f'"""{DOCSTRING}"""\n\nfrom typing import Final, Literal, TypeAlias\n'


def module_of(flags: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the module for flags by key, with their fields. Raises `CanaryError` where two keys have one name."""
    if not flags:
        raise CanaryError("found no flags, expected some to write down")
    return "\n".join([HEAD, *_constants(flags), *_aliases(flags)])


def _constants(flags: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    named: dict[str, str] = {}
    for key in sorted(flags):
        name = name_of(key)
        if named.setdefault(name, key) != key:
            both = f"{named[name]!r} and {key!r}"
            raise CanaryError(f"found {both}, expected keys that differ as constants: both are {name}")
        yield f'{name}: Final = "{key}"'
        description = " ".join(flags[key].get("description", "").split())
        if description:
            yield _text(description)


def _aliases(flags: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Name the keys of each type that there is, and all of them."""
    for type_ in FlagType:
        keys = [key for key, fields in flags.items() if fields.get("type", FlagType.BOOLEAN) == type_]
        if keys:
            yield _alias(f"{type_.capitalize()}Key", keys)
    yield _alias("FlagKey", flags) + "\n"


def _alias(name: str, keys: Iterable[str]) -> str:
    first, *others = [f'"{key}"' for key in sorted(keys)]
    listed = "".join(f"\n    {each}," for each in (first, *others)) + "\n" if others else first
    return f"\n{name}: TypeAlias = Literal[{listed}]"


def name_of(key: str) -> str:
    """Return the name of a key's constant: `new-checkout` is NEW_CHECKOUT."""
    name = re.sub(r"\W", "_", key).upper()
    return name if name.isidentifier() else f"FLAG_{name}"


def _text(text: str) -> str:
    """Write a text as formatters do: in double quotes, unless that would need more escapes."""
    written = repr(text)
    return written if '"' in text or "\\" in written else f'"{written[1:-1]}"'
