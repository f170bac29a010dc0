"""What does our provider cost through OpenFeature's client, beside its provider in memory with the same hash?

Most of either is the client's own. A guarded provider asks the other one, so it can only cost more than that.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import mmh3
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from benchmarks.race import publish, race
from canary_sdk import connect
from canary_sdk.core.flags.bucketing import seed_of, threshold_of
from canary_sdk.integrations.openfeature import CanaryProvider, GuardedProvider

if TYPE_CHECKING:
    from openfeature.provider import FeatureProvider

    from canary_sdk import Canary

RIVAL = "in memory, mmh3"
FLAG = "checkout"
SEED, THRESHOLD = seed_of(FLAG), threshold_of(25)
LOOPS = 50
RACES = 2


def split(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
    """Give a quarter of the keys the candidate."""
    variant = "on" if mmh3.hash(context.targeting_key or "", SEED, False) < THRESHOLD else "off"
    return FlagResolutionDetails(flag.variants[variant], reason=Reason.SPLIT, variant=variant)


def in_memory() -> InMemoryProvider:
    """Make the SDK's own provider, with one flag."""
    return InMemoryProvider({FLAG: InMemoryFlag("off", {"on": True, "off": False}, context_evaluator=split)})


def providers(canary: Canary) -> dict[str, FeatureProvider]:
    """Return what races."""
    return {RIVAL: in_memory(), "ours": CanaryProvider(canary), "guarded": GuardedProvider(in_memory(), canary)}


def main() -> None:
    """Race the providers, each in a domain of its own, with a key that varies and a context that is made for it."""
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": {FLAG: {"rollout": 25}}})
        keys = [f"user-{number}" for number in range(1_000)]
        names: dict[str, object] = {
            "next_key": cycle(keys).__next__,
            "context": EvaluationContext,
            "is_enabled": canary.is_enabled,
            "scope": canary.scope,
        }
        statements = {"ours without OpenFeature": f"is_enabled({FLAG!r}, next_key())"}
        for number, (name, provider) in enumerate(providers(canary).items()):
            api.set_provider_and_wait(provider, name)
            names[f"ask_{number}"] = api.get_client(name).get_boolean_value
            statements[name] = f"ask_{number}({FLAG!r}, False, context(next_key()))"
        ours = statements["ours"]
        statements["ours, in a unit of work"] = f"with scope('job'): {ours}"
        statements["the unit of work"] = "with scope('job'): pass"
        races = [race({"key": "next_key()", **statements}, names, loops=LOOPS) for _ in range(RACES)]
        results = {name: min(each[name] for each in races) for name in races[0]}
        key, unit = results.pop("key"), results.pop("the unit of work")
        results = {name: value - key - unit * name.endswith("unit of work") for name, value in results.items()}
        publish(__doc__ or "", results, baseline=RIVAL)
        api.shutdown()


if __name__ == "__main__":
    main()
