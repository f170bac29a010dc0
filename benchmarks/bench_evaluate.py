"""What does one evaluation cost, beside the hash that it cannot do without and the SHA-1 that others use?"""

from __future__ import annotations

import hashlib
from itertools import cycle

import mmh3

from benchmarks.race import publish, race
from canary_sdk import EvaluationContext, connect

HASH = "bare mmh3"

STATEMENTS = {
    HASH: "hash_of(next_key(), 7, False)",
    "naive: SHA-1 and a remainder": "int(sha1(next_key().encode()).hexdigest()[:15], 16) % 10_000 < 2_500",
    "is_enabled, 0 %": "is_enabled('nobody', next_key())",
    "is_enabled, 25 %": "is_enabled('some', next_key())",
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


def main() -> None:
    """Race the statements, with a key that varies, and take the cost of varying it off."""
    with connect("memory:") as canary:
        canary.apply({"flags": FLAGS})
        keys = [f"user-{number}" for number in range(1_000)]
        names: dict[str, object] = {
            "hash_of": mmh3.hash,
            "sha1": hashlib.sha1,
            "next_key": cycle(keys).__next__,
            "next_context": cycle([EvaluationContext(key, {"country": "DE"}) for key in keys]).__next__,
            "is_enabled": canary.is_enabled,
            "evaluate": canary.evaluate,
            "evaluate_all": canary.evaluate_all,
        }
        results = race({"key": "next_key()", **STATEMENTS}, names)
        key = results.pop("key")
        results = {name: value - key for name, value in results.items()}
        results["evaluate_all, a flag"] /= len(FLAGS)
        with canary.scope("one", key="user-42") as unit:
            names["pop"] = unit.marks.pop if unit is not None else None
            names["mark"] = (canary.evaluate("some", "user-42"), "user-42")
            names["unit"] = unit
            in_a_unit = race({"key": "next_key()", HASH: STATEMENTS[HASH], **FORGET, **IN_A_UNIT}, names)
        key, forget = in_a_unit["key"], in_a_unit["set and pop"] - in_a_unit["set"]
        speed = results[HASH] / (in_a_unit[HASH] - key)  # of this race, as against the other
        for name, statement in IN_A_UNIT.items():
            own = in_a_unit[name] - key * ("next_key" in statement) - forget * ("pop" in statement)
            results[name] = own * speed
    publish(__doc__ or "", results, baseline=HASH)


if __name__ == "__main__":
    main()
