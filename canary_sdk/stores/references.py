"""Whether what the documents of a store refer to is there: each is read by itself, this looks at all of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from canary_sdk.core.config.references import dangling, unsound
from canary_sdk.errors import ConfigError, StoreError
from canary_sdk.ports import Document
from canary_sdk.stores import codec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.config.channels import ChannelDeclaration
    from canary_sdk.core.config.configuration import FlagDeclaration, PlanDeclaration, SegmentDeclaration
    from canary_sdk.ports import Change, Snapshot

    Declared = tuple[
        dict[str, FlagDeclaration],
        dict[str, SegmentDeclaration],
        dict[str, PlanDeclaration],
        dict[str, ChannelDeclaration],
        dict[str, AutoRollback],
    ]


def check_references(snapshot: Snapshot, changes: Iterable[Change]) -> None:
    """Raise `ConfigError` for what would refer in vain after these changes, and did not so before."""
    before = {(document.kind, document.key): document for document in snapshot.documents}
    changed = {(each.kind, each.key): Document(each.kind, each.key, each.body or "", 0) for each in changes}
    known = set(dangling(*_readable(before.values())))
    if problems := [each for each in dangling(*_readable({**before, **changed}.values())) if each not in known]:
        raise ConfigError(problems)


def _readable(documents: Iterable[Document]) -> Declared:
    """Return what can be read of all that refers to something, or is referred to."""
    found: Declared = ({}, {}, {}, {}, {})
    for document in documents:
        if document.kind in _KINDS:
            with suppress(StoreError):
                if (value := codec.DECODERS[document.kind](document)) is not None:
                    found[_KINDS.index(document.kind)][document.key] = value
    return found


_KINDS: Final = (codec.FLAG, codec.SEGMENT, codec.PLAN, codec.CHANNEL, codec.AUTO_ROLLBACK)


def take_out_unsound(
    flags: dict[str, FlagDeclaration], segments: dict[str, SegmentDeclaration], damaged: dict[str, str]
) -> None:
    """Move what cannot be compiled to `damaged`, and then what refers to that, until all that is left is sound."""
    while problems := list(unsound(flags, segments)):
        for problem in problems:
            section, key = problem.path[:2]
            kind = codec.FLAG if section == "flags" else codec.SEGMENT
            damaged.setdefault(f"{kind} {key}", str(problem))
            {codec.FLAG: flags, codec.SEGMENT: segments}[kind].pop(key, None)  # type: ignore[attr-defined] # both are
