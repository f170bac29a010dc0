"""The attributes of what was counted, made once for each label set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from canary_sdk.telemetry.otel import names

if TYPE_CHECKING:
    from collections.abc import Callable

Attributes = Mapping[str, str | int | bool]

OVERFLOW: Final[Attributes] = {names.OVERFLOW: True}


class Labels(dict[Any, Attributes]):
    """The attributes of each key of one table, as `make` makes them; None is the overflow. No larger than the table."""

    def __init__(self, make: Callable[[Any], dict[str, str | int | bool]], environment: str) -> None:
        """Make them when they are asked for."""
        super().__init__({None: OVERFLOW})
        self._make = make
        self._environment = environment

    def __missing__(self, key: Any) -> Attributes:
        """Make them for a new key."""
        made = self[key] = {**self._make(key), names.ENVIRONMENT: self._environment}
        return made
