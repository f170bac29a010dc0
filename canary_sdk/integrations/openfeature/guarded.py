"""`GuardedProvider`: our measurement, breaker and kill switch around flags that somebody else's provider answers.

It never decides who gets the candidate: the inner provider does, and is asked once a flag and unit of work. What it
answers is put on an arm. While our breaker is open or the kill switch is held, the inner provider is not asked at all.
A flag that is not declared in our store passes through untouched, as does everything that the inner provider raises.

Threads: any, if the inner provider bears that.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.flag_evaluation import Reason as Told
from openfeature.provider import AbstractProvider

from canary_sdk.core.events import FlagEvent
from canary_sdk.core.flags.evaluation import Reason, Role
from canary_sdk.integrations.openfeature.announcements import announcement
from canary_sdk.integrations.openfeature.answers import fitting, held_by, metadata_of, observe, subject_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import ProviderEvent, ProviderEventDetails
    from openfeature.flag_evaluation import FlagValueType
    from openfeature.hook import Hook
    from openfeature.provider import FeatureProvider, Metadata
    from openfeature.track import TrackingEventDetails

    from canary_sdk.core.events import Event
    from canary_sdk.core.flags.evaluation import Evaluation
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.runtime.client import Canary

    Objects = Sequence[FlagValueType] | Mapping[str, FlagValueType]

T = TypeVar("T")

SPLIT: Final = frozenset({str(Told.SPLIT)})


@dataclass(frozen=True, slots=True)
class Arms:
    """Which of the inner provider's variants are the arms of a flag, by name; without a candidate it is every other.

    `value` is the baseline's, served while the flag is held. Without it that is the `default` that our store has, or,
    where this is of another type than was asked for, the caller's own.
    """

    baseline: str
    candidate: str | None = None
    value: object = None


class GuardedProvider(AbstractProvider):
    """Any provider, with a way back: the flags that our store declares are measured, judged and taken back.

    `guards` name the arms of a flag by the inner provider's variants. Without that, an answer is on the arm whose value
    it has: the flag's `default` or its `candidate`. `splits` are the inner provider's reasons that say that a
    percentage decided; what was answered for any other reason is measured apart.
    """

    def __init__(
        self,
        inner: FeatureProvider,
        canary: Canary,
        *,
        guards: Mapping[str, Arms] = MappingProxyType({}),
        splits: Collection[str] = SPLIT,
    ) -> None:
        """Wrap `inner`, which from now on is initialised and shut down with this one; the `Canary` is not."""
        super().__init__()
        self._inner = inner
        self._canary = canary
        self._guards = dict(guards)
        self._splits = frozenset(map(str, splits))

    # --- the inner provider's own affairs ---

    def attach(self, on_emit: Callable[[FeatureProvider, ProviderEvent, ProviderEventDetails], None]) -> None:
        """Pass on what the inner provider tells, as told by this one."""
        super().attach(on_emit)
        self._inner.attach(lambda _, event, details: self.emit(event, details))

    def detach(self) -> None:
        """Tell nothing any more."""
        self._inner.detach()
        super().detach()

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Tell of trips from now on, and initialise the inner provider. Raises what that raises."""
        self._canary.unsubscribe(self)
        self._canary.subscribe(self)
        self._inner.initialize(evaluation_context)

    def shutdown(self) -> None:
        """Tell nothing any more, and shut the inner provider down."""
        self._canary.unsubscribe(self)
        self._inner.shutdown()

    def get_metadata(self) -> Metadata:
        """Return the inner provider's, so that nothing that is named by it changes its name."""
        return self._inner.get_metadata()

    def get_provider_hooks(self) -> list[Hook]:
        """Return the inner provider's hooks."""
        return self._inner.get_provider_hooks()

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Observe what is tracked with a value, and pass it on."""
        observe(self._canary, tracking_event_name, tracking_event_details)
        self._inner.track(tracking_event_name, evaluation_context, tracking_event_details)

    def handle(self, event: Event) -> None:
        """Tell OpenFeature that a flag was switched off or on here. How fresh our store is concerns nobody else."""
        told = announcement(event) if isinstance(event, FlagEvent) else None
        if told is not None:
            self.emit(*told)

    # --- questions ---

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Answer a boolean flag."""
        return self._resolve(self._inner.resolve_boolean_details, bool, flag_key, default_value, evaluation_context)

    async def resolve_boolean_details_async(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Answer a boolean flag."""
        ask = self._inner.resolve_boolean_details_async
        return await self._resolve_async(ask, bool, flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Answer a string flag."""
        return self._resolve(self._inner.resolve_string_details, str, flag_key, default_value, evaluation_context)

    async def resolve_string_details_async(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Answer a string flag."""
        ask = self._inner.resolve_string_details_async
        return await self._resolve_async(ask, str, flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Answer an integer flag."""
        return self._resolve(self._inner.resolve_integer_details, int, flag_key, default_value, evaluation_context)

    async def resolve_integer_details_async(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Answer an integer flag."""
        ask = self._inner.resolve_integer_details_async
        return await self._resolve_async(ask, int, flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Answer a float flag."""
        return self._resolve(self._inner.resolve_float_details, float, flag_key, default_value, evaluation_context)

    async def resolve_float_details_async(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Answer a float flag."""
        ask = self._inner.resolve_float_details_async
        return await self._resolve_async(ask, float, flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Objects, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Objects]:
        """Answer an object flag."""
        return self._resolve(self._inner.resolve_object_details, object, flag_key, default_value, evaluation_context)

    async def resolve_object_details_async(
        self, flag_key: str, default_value: Objects, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Objects]:
        """Answer an object flag."""
        ask = self._inner.resolve_object_details_async
        return await self._resolve_async(ask, object, flag_key, default_value, evaluation_context)

    # --- inside ---

    def _resolve(
        self,
        ask: Callable[[str, T, EvaluationContext | None], FlagResolutionDetails[T]],
        asked: type,
        flag_key: str,
        default: T,
        context: EvaluationContext | None,
    ) -> FlagResolutionDetails[T]:
        settled = self._settled(asked, flag_key, default, context)
        if settled is not None:
            return settled
        return self._measured(asked, flag_key, ask(flag_key, default, context), context)

    async def _resolve_async(
        self,
        ask: Callable[[str, T, EvaluationContext | None], Awaitable[FlagResolutionDetails[T]]],
        asked: type,
        flag_key: str,
        default: T,
        context: EvaluationContext | None,
    ) -> FlagResolutionDetails[T]:
        settled = self._settled(asked, flag_key, default, context)
        if settled is not None:
            return settled
        return self._measured(asked, flag_key, await ask(flag_key, default, context), context)

    def _settled(
        self, asked: type, flag_key: str, default: T, context: EvaluationContext | None
    ) -> FlagResolutionDetails[T] | None:
        """Return what is served without asking the inner provider; None where it is to be asked. Never raises."""
        try:
            settled = self._canary.settled(flag_key, subject_of(context))
            if settled is None:
                return None
            return (
                self._held(asked, settled, default) if settled.reason is Reason.TRIPPED else self._met(asked, settled)
            )
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._canary.failures.note((f"settling {flag_key}", error, "The inner provider's answer was served"))
            return None

    def _held(self, asked: type, settled: Evaluation, default: T) -> FlagResolutionDetails[T]:
        """Return the baseline; where nobody has said what that is, it is the caller's own default."""
        arms = self._guards.get(settled.flag_key)
        value = fitting(settled.value if arms is None or arms.value is None else arms.value, asked)
        variant = settled.variant if arms is None else arms.baseline
        metadata = self._metadata_of(settled) | held_by(self._canary.breaker(settled.flag_key))
        if value is None:
            return FlagResolutionDetails(default, reason=Told.DISABLED, flag_metadata=metadata)
        return FlagResolutionDetails(value, reason=Told.DISABLED, variant=variant, flag_metadata=metadata)

    def _met(self, asked: type, met: Evaluation) -> FlagResolutionDetails[Any] | None:
        """Return what this unit of work was answered before, unless it is of another type."""
        value = fitting(met.value, asked)
        if value is None:
            return None
        metadata = self._metadata_of(met)
        return FlagResolutionDetails(value, reason=Told.CACHED, variant=met.variant or None, flag_metadata=metadata)

    def _measured(
        self, asked: type, flag_key: str, told: FlagResolutionDetails[T], context: EvaluationContext | None
    ) -> FlagResolutionDetails[T]:
        """Put the inner provider's answer on its arm in the open unit of work, and return it as it is. Never raises.

        Two threads of one unit may both have asked; then the first answer holds for both.
        """
        try:
            flag = self._canary.flag(flag_key) if self._canary.current_unit() is not None else None
            if flag is None or told.error_code or told.value is None or fitting(told.value, asked) is not told.value:
                return told
            role, variant = self._role(flag, told), told.variant or ""
            mark = self._canary.mark(flag_key, role, value=told.value, variant=variant, context=subject_of(context))
            if mark is None or mark.value == told.value:
                return told
            return self._settled(asked, flag_key, told.value, context) or told
        except Exception as error:  # noqa: BLE001 - ours never reaches the host
            self._canary.failures.note((f"measuring {flag_key}", error, "The inner provider's answer was served"))
            return told

    def _role(self, flag: Flag, told: FlagResolutionDetails[Any]) -> Role:
        """Return the arm that an answer means."""
        if str(told.reason) not in self._splits:
            return Role.APART
        arms = self._guards.get(flag.key)
        if arms is None:
            candidates = [variant.value for variant in flag.variants] or [flag.candidate]
            is_baseline, is_candidate = told.value == flag.default, told.value in candidates
        else:
            is_baseline, is_candidate = told.variant == arms.baseline, arms.candidate in (None, told.variant)
        return Role.BASELINE if is_baseline else Role.CANDIDATE if is_candidate else Role.APART

    def _metadata_of(self, evaluation: Evaluation) -> dict[str, bool | int | float | str]:
        return metadata_of(evaluation, self._canary.environment, self._canary.version)
