"""The transparent proxy of a callable that is no plain function: all it has shows through, and calls are measured.

The only module that imports wrapt; imported on use. A cached function keeps its `cache_info`, an object its attributes
and its class, a signature stays the same.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable


class Proxy(wrapt.CallableObjectProxy):  # type: ignore[type-arg] # its older versions are not generic at run time
    """Looks like `candidate` and calls `measured`."""

    def __init__(self, candidate: Callable[..., Any], measured: Callable[..., Any]) -> None:
        """Show `candidate`."""
        super().__init__(candidate)
        self._self_measured = measured

    @property
    def __call__(self) -> Callable[..., Any]:
        """What is called: a property, so that no frame of the proxy stands in a traceback."""
        return self._self_measured

    def __get__(self, instance: object, owner: type | None = None) -> object:
        """Bind as the candidate does: a cached function becomes a method, an object does not."""
        if instance is None or not hasattr(type(self.__wrapped__), "__get__"):
            return self
        return MethodType(self, instance)

    def __copy__(self) -> Proxy:
        """Stay itself, as functions do."""
        return self

    def __deepcopy__(self, memo: object) -> Proxy:
        """Stay itself, as functions do."""
        return self

    def __reduce_ex__(self, protocol: object) -> str:
        """Pickle by name, as functions do."""
        return str(self.__wrapped__.__qualname__)
