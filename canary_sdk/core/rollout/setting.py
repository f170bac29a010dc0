"""By what a rollout is run: its plan, the flag's own promises, and the rule that decides; as it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mmh3

from canary_sdk.core.config.configuration import auto_rollback_fields, parse_auto_rollback
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.plan import Plan, parse_plan, plan_fields
from canary_sdk.core.rollout.journal import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from canary_sdk.core.breaker import AutoRollback
    from canary_sdk.core.flags.flag import Flag
    from canary_sdk.core.judge.slo import Slo


@dataclass(frozen=True, slots=True)
class Setting:
    """What decides about a rollout. `slos` and `soft` are the flag's own, for stages that name none."""

    plan: Plan
    slos: tuple[Slo, ...]
    soft: tuple[Slo, ...]
    policy: AutoRollback

    @classmethod
    def of(cls, flag: Flag, policy: AutoRollback) -> Setting | None:
        """Return by what a rollout of the flag is run; None where it has no plan."""
        return cls(flag.plan, flag.slos, flag.soft, policy) if isinstance(flag.plan, Plan) else None

    @property
    def fingerprint(self) -> str:
        """What tells it from another in a few characters, the same in every process and release."""
        return f"{mmh3.hash128(repr(self.to_fields())):032x}"

    def hard_in(self, stage: int) -> tuple[Slo, ...]:
        """Return the SLOs whose breach aborts, in stage 1, 2, …; after the promotion, those of the last stage."""
        own = self.plan.stages[min(stage, self.plan.last) - 1].slos if stage else ()
        return tuple(slo for slo in own or self.slos if slo not in self.plan.soft(stage))

    def soft_in(self, stage: int) -> tuple[Slo, ...]:
        """Return the SLOs whose breach only holds."""
        return self.plan.soft(stage) or tuple(slo for slo in self.soft if slo not in self.hard_in(stage))

    def written(self, flag_key: str, at: float, version: int, who: str = "") -> Configuration:
        """Return the journal's record of it, from wall time `at` on, at this version of the store."""
        return Configuration(flag_key=flag_key, at=at, version=version, fields=self.to_fields(), who=who)

    def to_fields(self) -> dict[str, Any]:
        """Return it as plain fields, in the words of the configuration."""
        return {
            "plan": plan_fields(self.plan),
            "slos": [slo.text for slo in self.slos],
            "soft": [slo.text for slo in self.soft],
            "auto_rollback": auto_rollback_fields(self.policy),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Setting:
        """Read what `to_fields` returned. Raises `ConfigError`, LookupError, TypeError or ValueError."""
        return cls(
            parse_plan(fields["plan"]),
            tuple(map(parse_slo, fields.get("slos", ()))),
            tuple(map(parse_slo, fields.get("soft", ()))),
            parse_auto_rollback(fields.get("auto_rollback", {})),
        )
