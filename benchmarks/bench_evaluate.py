"""What does one evaluation cost, beside the hash that it cannot do without and the SHA-1 that others use?

And beside the clients of others, each of which has a quarter of the users in, and is asked with a key that varies.
"""

from __future__ import annotations

import hashlib
import os
import sys
from itertools import cycle
from typing import TYPE_CHECKING, Any

import mmh3

from benchmarks.peers import EVALUATION, made
from benchmarks.race import publish, race
from canary_sdk import EvaluationContext, connect

if TYPE_CHECKING:
    from canary_sdk import Canary

HASH = "bare mmh3"
OURS = "is_enabled, 25 %"
QUESTION = "Evaluation"
PEERS = "Evaluation, and the clients of others"
PEER_LOOPS = 200

STATEMENTS = {
    HASH: "hash_of(next_key(), 7, False)",
    "a look at a guard byte": "guard[()]; next_key()",
    "naive: SHA-1 and a remainder": "int(sha1(next_key().encode()).hexdigest()[:15], 16) % 10_000 < 2_500",
    "is_enabled, 0 %": "is_enabled('nobody', next_key())",
    OURS: "is_enabled('some', next_key())",
    "is_enabled, 100 %": "is_enabled('everybody', next_key())",
    "is_enabled, unknown flag": "is_enabled('unheard-of', next_key())",
    "evaluate, 25 %": "evaluate('some', next_key())",
    "is_enabled, 25 %, by a context": "is_enabled('some', next_context())",
    "is_enabled, a rule that does not hold, then 25 %": "is_enabled('ruled', next_context())",
    "is_enabled, 25 % among two variants": "is_enabled('coloured', next_key())",
    "evaluate_all, a flag": "evaluate_all(next_key())",
    "explained": "evaluate('some', next_key(), explain=True)",
}
FORGET = {"set": "unit.marks['some'] = mark", "set and pop": "unit.marks['some'] = mark; pop('some', None)"}
IN_A_UNIT = {
    "in a unit: is_enabled, 25 %, not met before": "pop('some', None); is_enabled('some', next_key())",
    "in a unit: is_enabled, 25 %, by context, not met before": "pop('some', None); is_enabled('some', next_context())",
    "in a unit: is_enabled, 25 %, by the unit's own key": "pop('some', None); is_enabled('some')",
    "in a unit: is_enabled, met before": "is_enabled('some', next_key())",
}
FLAGS = {
    "nobody": {"rollout": 0},
    "some": {"rollout": 25},
    "everybody": {"rollout": 100},
    "ruled": {"rollout": 25, "rules": [{"if": {"attribute": "country", "equals": "CH"}, "serve": "on"}]},
    "coloured": {
        "type": "string",
        "default": "grey",
        "rollout": 25,
        "variants": {"blue": {"value": "b"}, "green": {"value": "g"}},
    },
}


def race_ours(canary: Canary, names: dict[str, Any]) -> None:
    """Race the statements, with a key that varies, and take the cost of varying it off."""
    results = race({"key": "next_key()", **STATEMENTS}, names)
    key = results.pop("key")
    results = {name: value - key for name, value in results.items()}
    results["evaluate_all, a flag"] /= len(FLAGS)
    with canary.scope("one", key="user-42") as unit:
        assert unit
        mark = (canary.evaluate("some", "user-42"), "user-42")
        names = {**names, "unit": unit, "pop": unit.marks.pop, "mark": mark}
        in_a_unit = race({"key": "next_key()", HASH: STATEMENTS[HASH], **FORGET, **IN_A_UNIT}, names)
    key, forget = in_a_unit["key"], in_a_unit["set and pop"] - in_a_unit["set"]
    speed = results[HASH] / (in_a_unit[HASH] - key)  # of this race, as against the other
    for name, statement in IN_A_UNIT.items():
        own = in_a_unit[name] - key * ("next_" in statement) - forget * ("pop" in statement)
        results[name] = own * speed
    publish(QUESTION, results, baseline=HASH)


def race_peers(names: dict[str, Any]) -> None:
    """Race the clients of others, which take so long that few calls a round will do."""
    found, missing = made(EVALUATION)
    ours = {"key": "next_key()", HASH: STATEMENTS[HASH], OURS: STATEMENTS[OURS]}
    asked = {name: f"peer_{number}(next_key())" for number, name in enumerate(found)}
    names = names | {f"peer_{number}": ask for number, ask in enumerate(found.values())}
    results = race({**ours, **asked}, names, loops=PEER_LOOPS)
    key = results.pop("key")
    results = {name: value - key for name, value in results.items()}
    publish(PEERS, results, baseline=HASH, missing=missing)


def main() -> None:
    """Run both races."""
    with connect("memory:", background=False) as canary:
        canary.apply({"flags": FLAGS})
        canary.tick()
        keys = [f"user-{number}" for number in range(1_000)]
        names: dict[str, Any] = {
            "hash_of": mmh3.hash,
            "sha1": hashlib.sha1,
            "next_key": cycle(keys).__next__,
            "next_context": cycle([EvaluationContext(key, {"country": "DE"}) for key in keys]).__next__,
            "is_enabled": canary.is_enabled,
            "evaluate": canary.evaluate,
            "evaluate_all": canary.evaluate_all,
            "guard": canary._guard.byte_of("some"),
        }
        race_ours(canary, names)
        race_peers(names)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # some of the peers have threads that would not let go
