"""`CanaryProvider`: our flags, for those who ask through OpenFeature.

It is the same evaluation as `Canary.evaluate`: in memory, marked in the open unit of work, pinned for the rest of it.
So the asynchronous methods, which OpenFeature's own base class builds on the others, return without ever suspending.

`track` observes: a value of which an SLO promises something counts on the arms that the open unit of work has met.

Threads: any.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, TypeVar

from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.flag_evaluation import Reason as Told
from openfeature.provider import AbstractProvider, Metadata

from canary_sdk.core.events import StoreRegained
from canary_sdk.core.flags.evaluation import Reason
from canary_sdk.integrations.openfeature.announcements import announcement
from canary_sdk.integrations.openfeature.answers import (
    REASONS,
    TYPES,
    failure,
    fitting,
    held_by,
    metadata_of,
    observe,
    subject_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagValueType
    from openfeature.track import TrackingEventDetails

    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.runtime.client import Canary

T = TypeVar("T")

NAME: Final = "canary"
_BY_SHARE: Final = (Reason.SPLIT, Reason.DEFAULT)


class CanaryProvider(AbstractProvider):
    """Answers from a `Canary`, which stays its owner's: shutting the provider down does not close it.

    Nothing is raised for a question, whatever it is: details carry an error code and the caller's default. With
    `metadata` False answers carry the flag's own metadata and none of ours. Cost: `benchmarks/bench_openfeature.py`.
    """

    def __init__(self, canary: Canary, *, metadata: bool = True) -> None:
        """Remember whom to ask; nothing is opened or started."""
        super().__init__()
        self._canary = canary
        self._tells_more = metadata
        self._metadata = Metadata(NAME)
        self._is_ready = False

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return self._metadata

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - flags do not depend on it
        """Wake the `Canary`, and tell of its changes from now on.

        Raises `ProviderNotReadyError` if the store was never read. The provider is ready as soon as it is.
        """
        self._canary.unsubscribe(self)
        self._canary.subscribe(self)
        status = self._canary.status()
        if status.stale and not status.version:
            raise ProviderNotReadyError(status.stale)
        self._is_ready = True

    def shutdown(self) -> None:
        """Tell nothing any more."""
        self._canary.unsubscribe(self)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002 - the unit of work knows for whom
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Observe what is tracked with a value."""
        observe(self._canary, tracking_event_name, tracking_event_details)

    def handle(self, event: Event) -> None:
        """Tell OpenFeature of an event of ours. It is no news that a store is away which was never there."""
        told = announcement(event)
        if told is None:
            return
        kind, details = told
        self._is_ready = self._is_ready or isinstance(event, StoreRegained)
        if self._is_ready:
            self.emit(kind, details)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Answer a boolean flag."""
        return self._resolve(flag_key, bool, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Answer a string flag."""
        return self._resolve(flag_key, str, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Answer an integer flag."""
        return self._resolve(flag_key, int, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Answer a float flag, or an integer flag as a float."""
        return self._resolve(flag_key, float, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Answer an object flag, with a copy of its value."""
        return self._resolve(flag_key, object, default_value, evaluation_context)

    def _resolve(
        self, flag_key: str, asked: type, default: T, context: EvaluationContext | None
    ) -> FlagResolutionDetails[T]:
        """Ask, unless the question has no answer: what is not served must not be measured. Never raises."""
        try:
            flag = self._canary.flag(flag_key)
            if flag is None:
                return self._unknown(flag_key, default)
            if asked not in TYPES[flag.type]:
                message = f"{flag_key} is of type {flag.type}, and was asked for as {asked.__name__}"
                return failure(default, ErrorCode.TYPE_MISMATCH, message)
            key: object = None if context is None else context.targeting_key
            if not isinstance(key, str | None):
                return failure(default, ErrorCode.INVALID_CONTEXT, "the targeting key is no str")
            return self._answer(flag, asked, default, context)
        except Exception as error:  # noqa: BLE001 - never raises into the application
            self._canary.failures.note((f"resolving {flag_key}", error, "The caller's default was served"))
            return failure(default, ErrorCode.GENERAL, repr(error))

    def _unknown(self, flag_key: str, default: T) -> FlagResolutionDetails[T]:
        if self._is_ready:
            return failure(default, ErrorCode.FLAG_NOT_FOUND, f"flag {flag_key} not found")
        return failure(default, ErrorCode.PROVIDER_NOT_READY, "the store was not read yet")

    def _answer(
        self, flag: Flag, asked: type[Any], default: T, context: EvaluationContext | None
    ) -> FlagResolutionDetails[T]:
        canary, flag_key = self._canary, flag.key
        evaluation = canary.evaluate(flag_key, subject_of(context))
        value, reason = fitting(evaluation.value, asked), evaluation.reason
        if asked is object:  # what is served is shared, and callers may change what they get
            value = deepcopy(value)
        if reason is Reason.ERROR or value is None:
            return failure(default, ErrorCode.GENERAL, f"evaluating {flag_key} failed: see status().failures")
        metadata = dict(flag.metadata.custom)
        if self._tells_more:
            metadata |= metadata_of(evaluation, canary.environment, canary.version)
        if reason is Reason.DISABLED:  # the specification wants the caller's default, which is of no variant
            return FlagResolutionDetails(
                default, None, None, Told.STALE if canary.stale else Told.DISABLED, None, metadata
            )
        told = Told.STATIC if reason in _BY_SHARE and flag.is_static else REASONS[reason]
        if reason is Reason.TRIPPED:
            metadata |= held_by(canary.breaker(flag_key)) if self._tells_more else {}
        elif canary.stale:
            told = Told.STALE
        return FlagResolutionDetails(value, None, None, told, evaluation.variant, metadata)  # by keyword it costs twice
