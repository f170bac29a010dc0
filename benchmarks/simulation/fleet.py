"""Users on several hosts: each host's own judge, and the judge of all of them together, on the same drawn requests.

    python -m benchmarks.simulation.fleet [PLANS [HOSTS]]

The users are those of `users`, and every one of them meets any host, so what is private to an arm is so on all of them.
Each host learns an hour of baseline by itself, lays its own edges, and serves a release at 5 % for half an hour.
"""

from __future__ import annotations

import json
import math
import sys
from statistics import median

import numpy as np

from benchmarks.simulation.traffic import HEALTHY, Fault
from benchmarks.simulation.users import Release, Setting, Users
from canary_sdk.core.judge.decision import Action, decide
from canary_sdk.core.judge.report import Sums, plus
from canary_sdk.core.judge.sequential import Answers, Case, answers_of, hear, joined, weigh

PLANS = 12
HOSTS = 4
MINUTES = 30
SETTINGS = {"users": Setting(minutes=MINUTES), "a third of them awake": Setting(minutes=MINUTES, awake=0.3)}
FAULTS = {"healthy": HEALTHY, "x1.15": Fault(factor=1.15), "errors 1.8 %": Fault(errors=0.018)}


def led(seed: int, setting: Setting, fault: Fault, hosts: int) -> tuple[float, float]:
    """Return when the first of the hosts takes the candidate back by itself, and when the sum does; inf if never."""
    users = Users(np.random.default_rng(seed), setting)
    releases = [Release(users) for _ in range(hosts)]
    cases = [release.learnt() for release in releases]
    joint: Case | None = None
    alone, together, second = math.inf, math.inf, 0
    for _ in range(setting.minutes):
        on = np.ones(1, dtype=bool)
        minutes = [
            release.counted(case, drawn, fault=fault, hit=np.broadcast_to(on, drawn[0].shape))
            for release, case in zip(releases, cases, strict=True)
            for drawn in (users.minute(),)
        ]
        for batches in zip(*(minute.batches(released=True) for minute in minutes), strict=True):
            second, sums = second + 1, Sums()
            for number, batch in enumerate(batches):
                said = answers_of(cases[number], batch)
                sums = plus(sums, said.to_sums("unit"))
                cases[number] = weigh(cases[number], batch, said)
            noise = {name: max(each.terms.noise.get(name, 0.0) for each in cases) for name in cases[0].asked}
            joint = joined(cases[0], joint, noise)
            joint = hear(joint, Answers.from_sums(sums, "unit", cases[0].asked), 1.0)
            if decide(joint).action is Action.ROLLBACK:
                together = min(together, second)
            if any(decide(case).action is Action.ROLLBACK for case in cases):
                alone = min(alone, second)
        if alone < math.inf and together < math.inf:
            break
    return alone, together


def main() -> None:
    """Print a line of JSON for each kind of users and each fault."""
    plans, hosts = (int(word) for word in (*sys.argv[1:], *map(str, (PLANS, HOSTS)[len(sys.argv) - 1 :])))
    for who, setting in SETTINGS.items():
        for what, fault in FAULTS.items():
            found = [led(seed, setting, fault, hosts) for seed in range(plans)]
            told = {
                name: {"rolled_back": sum(each < math.inf for each in times), "median_s": median(times)}
                for name, times in zip(("alone", "together"), zip(*found, strict=True), strict=True)
            }
            print(json.dumps({"who": who, "what": what, "plans": plans, "hosts": hosts, **told}), flush=True)


if __name__ == "__main__":
    main()
