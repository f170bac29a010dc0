"""What does one evaluation cost, beside the hash that it cannot do without and the SHA-1 that others use?"""

from __future__ import annotations

import hashlib
from itertools import cycle

import mmh3

from benchmarks.race import publish, race
from canary_sdk import connect

HASH = "bare mmh3"

STATEMENTS = {
    HASH: "hash_of(next_key(), 7, False)",
    "naive: SHA-1 and a remainder": "int(sha1(next_key().encode()).hexdigest()[:15], 16) % 10_000 < 2_500",
    "is_enabled, 0 %": "is_enabled('nobody', next_key())",
    "is_enabled, 25 %": "is_enabled('some', next_key())",
    "is_enabled, 100 %": "is_enabled('everybody', next_key())",
    "is_enabled, unknown flag": "is_enabled('unheard-of', next_key())",
    "evaluate, 25 %": "evaluate('some', next_key())",
}


def main() -> None:
    """Race the statements, with a key that varies, and take the cost of varying it off."""
    with connect("memory:") as canary:
        canary.apply({"flags": {"nobody": {"rollout": 0}, "some": {"rollout": 25}, "everybody": {"rollout": 100}}})
        names = {
            "hash_of": mmh3.hash,
            "sha1": hashlib.sha1,
            "next_key": cycle([f"user-{number}" for number in range(1_000)]).__next__,
            "is_enabled": canary.is_enabled,
            "evaluate": canary.evaluate,
        }
        results = race({"key": "next_key()", **STATEMENTS}, names)
    key = results.pop("key")
    publish(__doc__ or "", {name: value - key for name, value in results.items()}, baseline=HASH)


if __name__ == "__main__":
    main()
