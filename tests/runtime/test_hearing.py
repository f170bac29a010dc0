"""The sequential judge on live traffic: what it takes back, what it only tells, and what it knows after a restart."""

from __future__ import annotations

import json
import os
import random
from asyncio import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import CanaryError, connect
from canary_sdk.core.breaker import State
from canary_sdk.core.events import FlagTripped, HoldAdvised, HoldLifted, TripWithheld, UsersDiffer
from canary_sdk.core.flags.bucketing import bucket_of, seed_of, threshold_of
from canary_sdk.core.judge.decision import Action
from canary_sdk.core.rollout.grounds import Standing
from canary_sdk.runtime import matter as matters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.runtime.opinion import Heard
    from canary_sdk.testing import ManualClock

SLOS = ["p95 < 500ms", "errors < 5%"]


class Shop:
    """A service that 400 users call, 100 requests a second; each answer takes about as long as it is told to."""

    def __init__(self, canary: Canary, clock: ManualClock, rollout: float = 50, **policy: Any) -> None:
        self.canary, self.clock, self.draw = canary, clock, random.Random(1)
        self.events: list[Event] = []
        self.declare(rollout=rollout, **policy)
        canary.subscribe(self)

    def declare(
        self, rollout: float = 50, slos: list[str] = SLOS, soft: list[str] | None = None, **policy: object
    ) -> None:
        """Declare the flag."""
        flag = {"rollout": rollout, "slos": slos, **({"soft": soft} if soft else {})}
        self.canary.apply({"flags": {"checkout": flag}, "auto_rollback": {"min_samples": 20, **policy}})

    def handle(self, event: Event) -> None:
        """Remember what is told."""
        self.events.append(event)

    def told(self, *kinds: type[Event]) -> list[type[Event]]:
        """Return what was told of these kinds, in order."""
        return [type(event) for event in self.events if isinstance(event, kinds)]

    def serve(self, seconds: float, candidate: float = 0.1, baseline: float = 0.1, *, until_off: bool = False) -> float:
        """Serve for so many seconds, or until the flag is off; return how many went by."""
        for turn in range(round(seconds * 10)):
            for _ in range(10):
                unit = self.canary.units.open_request()
                token = self.canary.units.enter(unit)
                on = self.canary.is_enabled("checkout", f"user-{self.draw.randrange(400)}")
                unit.finish(unit.started + (candidate if on else baseline) * self.draw.lognormvariate(0, 0.3))
                self.canary.units.leave(token)
            self.clock.advance(0.1)
            self.canary.tick()
            if until_off and self.is_off:
                return (turn + 1) / 10
        return seconds

    def work(self, seconds: float, act: Callable[[str], object], *, until_off: bool = False) -> float:
        """Do something a hundred times a second, each time for a user in a unit of work, as long as `serve` would."""
        for turn in range(round(seconds * 10)):
            for _ in range(10):
                key = f"user-{self.draw.randrange(400)}"
                with suppress(OSError, CancelledError), self.canary.scope("work", key=key):
                    act(key)
            self.clock.advance(0.1)
            self.canary.tick()
            if until_off and self.is_off:
                return (turn + 1) / 10
        return seconds

    @property
    def is_off(self) -> bool:
        """Whether the breaker is open."""
        return self.canary.status().flags["checkout"].breaker.state is State.OPEN

    @property
    def is_judged(self) -> bool:
        """Whether the sequential judge judges a release."""
        return self.heard.decision is not None

    @property
    def standing(self) -> Standing:
        """What that means."""
        return self.heard.standing

    @property
    def heard(self) -> Heard:
        """What the sequential judge says."""
        heard = self.canary.status().flags["checkout"].heard
        assert heard is not None
        return heard


@pytest.fixture
def shop(canary: Canary, clock: ManualClock) -> Shop:
    """A shop with the flag at 50 % since now, judged as by default."""
    return Shop(canary, clock)


def test_a_slow_candidate_is_taken_back_within_seconds(shop: Shop) -> None:
    """By default, long before the classic rule has its first interval; the sentence tells of both arms."""
    shop.serve(20)
    assert not shop.is_off
    assert shop.serve(10, candidate=0.9, until_off=True) <= 5
    (tripped,) = [event for event in shop.events if isinstance(event, FlagTripped)]
    assert tripped.verdict is None
    assert tripped.decision is not None
    assert tripped.decision.action is Action.ROLLBACK
    assert tripped.decision.log_e >= tripped.decision.needed
    assert "of the candidate's requests" in tripped.reason
    assert "of the baseline's" in tripped.reason
    shop.serve(3)
    assert not shop.is_judged


def test_a_healthy_candidate_is_left_alone_and_its_judgement_is_good(shop: Shop) -> None:
    """After ten minutes nothing speaks against it, nor against the part of the baseline that plays it."""
    shop.serve(600)
    assert not shop.is_off
    heard = shop.heard
    assert heard.decision is not None
    assert heard.self_test is not None
    assert heard.decision.action is heard.self_test.action is Action.CONTINUE
    assert heard.standing is Standing.GOOD
    assert "the classic rule says" in heard.decision.sentence


def test_without_data_nothing_is_known(shop: Shop, clock: ManualClock) -> None:
    """A judge that has heard nothing lately says so, however long nothing speaks against the candidate."""
    shop.serve(40)
    assert shop.standing is Standing.GOOD
    for _ in range(400):
        clock.advance(0.1)
        shop.canary.tick()
    assert shop.standing.name == "UNKNOWN"


def test_an_incident_of_both_arms_is_told_and_blames_nobody(shop: Shop) -> None:
    """The release is to be held, once; and it is told once that the hold is over."""
    shop.serve(60)
    shop.serve(60, candidate=0.9, baseline=0.9)
    assert shop.heard.standing is Standing.SHARED
    assert shop.told(HoldAdvised, HoldLifted, FlagTripped) == [HoldAdvised]
    shop.serve(300)
    assert shop.told(HoldAdvised, HoldLifted, FlagTripped) == [HoldAdvised, HoldLifted]


def test_a_dry_run_tells_once_and_leaves_the_flag_on(canary: Canary, clock: ManualClock) -> None:
    """What would have been switched off is told with its decision, and everybody goes on being served."""
    shop = Shop(canary, clock, dry_run=True)
    shop.serve(30, candidate=0.9)
    assert shop.told(TripWithheld, FlagTripped) == [TripWithheld]
    assert not shop.is_off
    assert shop.heard.standing is Standing.HARD


def test_a_soft_promise_only_holds(shop: Shop) -> None:
    """The comparison says worse, and nothing is switched off."""
    shop.declare(slos=["errors < 5%"], soft=["p95 < 500ms"])
    shop.serve(30, candidate=0.9)
    assert shop.told(HoldAdvised, FlagTripped) == [HoldAdvised]
    assert shop.heard.standing is Standing.SOFT


@pytest.mark.parametrize("rule", ["sequential", "consecutive", "both"])
def test_the_rule_can_be_chosen(canary: Canary, clock: ManualClock, rule: str) -> None:
    """Each takes a slow candidate back; which of them did is in the event, and the classic one alone hears nothing."""
    shop = Shop(canary, clock, rule=rule, interval="1s" if rule == "consecutive" else "30s")
    shop.serve(5)
    assert (canary.status().flags["checkout"].heard is None) == (rule == "consecutive")
    shop.serve(10, candidate=0.9, until_off=True)
    (tripped,) = [event for event in shop.events if isinstance(event, FlagTripped)]
    assert (tripped.verdict is not None) == (rule == "consecutive")


def test_slow_calls_are_found_by_the_comparison(shop: Shop) -> None:
    """Also where the requests around them fail no more often than before."""
    shop.declare(slos=["errors < 5%", "call.p95 < 50ms"], interval="1s", min_samples=3)

    @shop.canary.feature("checkout")
    def checkout() -> None:
        shop.clock.advance(0.08)

    for _ in range(100):
        with shop.canary.scope("job", key=f"user-{shop.draw.randrange(400)}"):
            checkout()
        shop.clock.advance(0.02)
        shop.canary.tick()
    (tripped,) = [event for event in shop.events if isinstance(event, FlagTripped)]
    assert tripped.decision is not None
    assert tripped.decision.stream in {"call.p95", "call.shape"}
    assert "of the candidate's calls" in tripped.reason


def test_a_candidate_that_never_answers_is_taken_back_while_it_hangs(shop: Shop) -> None:
    """No request of it ever ends; what its age is over counts, within seconds of the limit."""
    shop.serve(20)

    def act(key: str) -> None:
        if shop.canary.is_enabled("checkout", key):
            hung = shop.canary.units.open_request()
            hung.marks.update(shop.canary.units.current().marks)  # type: ignore[union-attr]
            raise CancelledError

    assert shop.work(30, act, until_off=True) <= 8
    (tripped,) = [event for event in shop.events if isinstance(event, FlagTripped)]
    assert "took over 500 ms" in tripped.reason


def test_everybody_on_the_candidate_is_held_to_the_limits(canary: Canary, clock: ManualClock) -> None:
    """At 100 % nobody is left to compare with; what breaks its limits is still taken back."""
    shop = Shop(canary, clock, rollout=100)
    shop.serve(60)
    assert not shop.is_off
    assert shop.serve(20, candidate=0.9, until_off=True) <= 8


def test_a_judge_that_fails_leaves_the_flag_to_the_classic_rule(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    """It is counted, and the candidate is still taken back."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    shop.declare(interval="1s")
    shop.serve(3)
    monkeypatch.setattr(matters, "weigh", fail)
    shop.serve(10, candidate=0.9, until_off=True)
    assert shop.is_off
    assert shop.canary.failures.counts == {"judging checkout": 1}


def test_a_raised_percentage_goes_on_with_the_evidence(shop: Shop) -> None:
    """What was held against the candidate before counts after it; a flag that was at 0 % begins anew."""
    shop.serve(60)
    shop.serve(1.5, candidate=0.9)
    before = shop.heard.decision
    assert before is not None
    assert 0 < before.log_e < before.needed
    shop.canary.update("checkout", {"rollout": 60})
    shop.serve(2.5)
    raised = shop.heard.decision
    assert raised is not None
    assert raised.log_e > 0
    shop.canary.update("checkout", {"rollout": 0})
    shop.serve(2.5)
    assert not shop.is_judged
    shop.canary.update("checkout", {"rollout": 50})
    shop.serve(3.5)
    anew = shop.heard.decision
    assert anew is not None
    assert anew.log_e < 0


# --- learning and remembering ---


def test_users_are_sorted_while_everybody_gets_the_baseline(canary: Canary, clock: ManualClock) -> None:
    """What the comparison takes for granted is said, and is nothing once there was time to learn."""
    shop = Shop(canary, clock, rollout=0)
    shop.serve(2)
    assert "users are assumed to be alike, as only" in shop.heard.assumes
    for _ in range(1900):
        for number in range(20):
            unit = canary.units.open_request()
            token = canary.units.enter(unit)
            canary.is_enabled("checkout", f"user-{number}")
            unit.finish(unit.started + 0.05 * (number + 1))
            canary.units.leave(token)
        clock.advance(1.0)
        canary.tick()
    assert shop.heard.assumes == ""
    shop.canary.update("checkout", {"rollout": 50})
    shop.serve(40)
    decision = shop.heard.decision
    assert decision is not None
    assert "alike" not in decision.sentence
    assert shop.heard.standing is Standing.GOOD


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a store may be."""
    return f"sqlite:///{tmp_path}/canary.db"


def restarted(url: str, clock: ManualClock) -> Iterator[Shop]:
    """Yield the same shop in one process after another."""
    while True:
        with connect(url, clock=clock, background=False) as canary:
            yield Shop(canary, clock)


def test_evidence_survives_a_restart(url: str, clock: ManualClock) -> None:
    """The next process goes on where the last one stopped, and takes the flag back as soon as that one would have."""
    shops = restarted(url, clock)
    next(shops).serve(60)
    shop = next(shops)
    shop.serve(10)
    assert judged_s() > 60
    assert shop.serve(6, candidate=0.9, until_off=True) < 6
    shops.close()  # type: ignore[attr-defined]


def judged_s() -> float:
    """Return how long the stage has been judged, as it is written down."""
    (path,) = Path(os.environ["CANARY_ARENA_DIR"]).glob("*.judge")
    return float(json.loads(path.read_text())["hearings"]["checkout"]["matters"]["unit"]["case"]["judged_s"])


def test_the_next_worker_goes_on_with_the_evidence_there_is(url: str, clock: ManualClock) -> None:
    """Where the judge of a host leaves, another worker takes its place, and goes on in the same stage."""
    with connect(url, clock=clock, background=False) as second:
        with connect(url, clock=clock, background=False) as first:
            shop = Shop(first, clock)
            first.tick()
            second.tick()
            shop.serve(60)
            assert shop.heard.decision is not None
            assert second.status().flags["checkout"].heard is None
        shop.canary = second
        shop.serve(5)
        assert shop.heard.decision is not None
    assert judged_s() > 60


def test_evidence_waits_for_a_store_that_is_away_at_the_start(tmp_path: Path, clock: ManualClock) -> None:
    """Flags that are read only later go on where they were as well."""
    url, store, away = f"sqlite:///{tmp_path}/canary.db", tmp_path / "canary.db", tmp_path / "away"
    with connect(url, clock=clock, background=False) as canary:
        shop = Shop(canary, clock)
        shop.serve(60)
    store.rename(away)
    store.mkdir()
    with connect(url, clock=clock, background=False) as shop.canary:
        shop.canary.tick()
        assert shop.canary.stale
        store.rmdir()
        away.rename(store)
        for _ in range(40):
            clock.advance(0.1)
            shop.canary.tick()
        shop.serve(5)
        assert shop.heard.decision is not None
    assert judged_s() > 60


@pytest.mark.parametrize("damage", ["{", '{"format": 2, "hearings": {"checkout": {"percent": 5}}}', "[]"])
def test_damaged_records_are_said_once_and_left_aside(url: str, clock: ManualClock, damage: str) -> None:
    """The judge begins anew, and judges."""
    shops = restarted(url, clock)
    next(shops).serve(10)
    shop = next(shops)
    (path,) = Path(os.environ["CANARY_ARENA_DIR"]).glob("*.judge")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(damage, encoding="ascii")
    shop.serve(20)
    assert sum(shop.canary.failures.counts.values()) == 1
    shop.serve(10, candidate=0.9, until_off=True)
    assert shop.is_off
    shops.close()  # type: ignore[attr-defined]


# --- who is compared ---


def learn(shop: Shop, seconds: int) -> None:
    """Serve twenty users a second, who differ, all of them on the baseline."""
    for _ in range(seconds):
        for number in range(20):
            unit = shop.canary.units.open_request()
            token = shop.canary.units.enter(unit)
            shop.canary.is_enabled("checkout", f"user-{number}")
            unit.finish(unit.started + 0.02 * (number + 1))
            shop.canary.units.leave(token)
        shop.clock.advance(1.0)
        shop.canary.tick()


def test_noise_is_told_by_who_judges_and_by_what_it_wrote_down(url: str, clock: ManualClock) -> None:
    """An operator's process on the same host reads what the application has learnt; a stranger's knows nothing."""
    with connect(url, clock=clock, background=False) as canary:
        shop = Shop(canary, clock, rollout=0)
        early = canary.calibration("checkout")
        assert early is None or not early.noise
        learn(shop, 1900)
        found = canary.calibration("checkout")
        assert found is not None
        assert found.is_sorted
        assert found.noise.keys() == {"shape", "p95", "errors"}
        with connect(url, clock=clock, background=False) as operator:
            read = operator.calibration("checkout")
            assert read is not None
            assert read.noise == found.noise
    with connect("memory:", clock=clock, background=False) as stranger:
        stranger.apply({"flags": {"checkout": {"slos": SLOS}}})
        assert stranger.calibration("checkout") is None


def test_noise_that_an_operator_kept_makes_evidence_smaller(canary: Canary, clock: ManualClock) -> None:
    """With much noise of its own, the same difference is found later."""
    took = []
    for noise in ({}, {"shape": 5.0, "p95": 5.0}):
        shop = Shop(canary, clock, rollout=0)
        canary.update("checkout", {"noise": noise, "rollout": 50})
        shop.serve(20)
        took.append(shop.serve(60, candidate=0.9, until_off=True))
        canary.reset("checkout")
        canary.update("checkout", {"rollout": 0})
        shop.serve(3)
    assert took[1] > 2 * took[0]


@pytest.mark.parametrize("later_s", [0, 0.1, 5])
def test_after_a_reset_nothing_of_before_is_held_against_it(shop: Shop, clock: ManualClock, later_s: float) -> None:
    """However soon it comes, between two looks of the judge too; and what goes wrong from then on is."""
    shop.serve(20)
    assert shop.serve(60, candidate=0.9, until_off=True) < 60
    shop.serve(later_s)
    shop.canary.reset("checkout")
    shop.serve(30)
    assert not shop.is_off
    assert shop.serve(60, candidate=0.9, until_off=True) < 60


def test_another_salt_is_refused_once_anybody_gets_the_candidate(canary: Canary, clock: ManualClock) -> None:
    """Before that, other users are the first; each time others."""
    shop = Shop(canary, clock, rollout=0)
    first, second = canary.resalt("checkout"), canary.resalt("checkout", reason="bad luck")
    assert first != second
    flag = canary.flag("checkout")
    assert flag is not None
    assert flag.salt == second
    assert canary.history("checkout")[0].reason == "bad luck"
    canary.update("checkout", {"rollout": 5}, environment="staging")
    with pytest.raises(CanaryError, match="5 % staging"):
        canary.resalt("checkout")
    shop.declare(rollout=5)
    with pytest.raises(CanaryError, match="5 % everywhere"):
        canary.resalt("checkout")
    with pytest.raises(CanaryError, match="nothing"):
        canary.resalt("nothing")


def test_who_is_first_is_compared_with_the_rest_beforehand(canary: Canary, clock: ManualClock) -> None:
    """Those who fail more anyway are told of, once, with what to do; after another salt others are looked at."""
    shop = Shop(canary, clock, rollout=0)
    compiled = canary.flag("checkout")
    assert compiled is not None
    seed = seed_of(compiled.salt or compiled.key)
    users = [f"user-{number}" for number in range(400)]
    unlucky = {key for key in users if bucket_of(key, seed) < threshold_of(5)}

    def learn_more(seconds: int) -> None:
        for second in range(seconds):
            for key in users[second % 10 :: 10]:
                unit = canary.units.open_request()
                token = canary.units.enter(unit)
                canary.is_enabled("checkout", key)
                unit.status = 500 if key in unlucky and second % 20 < 10 else 200
                unit.finish(unit.started + 0.1)
                canary.units.leave(token)
            clock.advance(1.0)
            canary.tick()

    learn_more(1900)
    (told,) = shop.heard.unlike
    assert told.startswith("errors: ")
    (warned,) = [event for event in shop.events if isinstance(event, UsersDiffer)]
    assert told in warned.sentence
    assert "`canary resalt checkout`" in warned.sentence
    canary.resalt("checkout")
    learn_more(700)
    assert shop.heard.unlike == ()
    assert shop.told(UsersDiffer) == [UsersDiffer]


# --- what else is heard ---


def tripped(shop: Shop) -> FlagTripped:
    """Return the last trip, which was the sequential judge's."""
    event = [each for each in shop.events if isinstance(each, FlagTripped)][-1]
    assert event.decision is not None
    return event


def test_decorated_calls_are_judged_as_units_are(shop: Shop) -> None:
    """A function that fails more often is taken back within seconds, whatever becomes of the requests."""
    shop.declare(slos=["call.errors < 5%", "errors < 5%"])
    failing = 0.0

    def new() -> None:
        if shop.draw.random() < failing:
            raise OSError

    serve = shop.canary.feature("checkout", fallback=lambda: None)(new)

    def act(_: str) -> None:
        with suppress(OSError):
            serve()

    shop.work(60, act)
    assert shop.heard.standing is Standing.GOOD
    failing = 0.5
    assert shop.work(30, act, until_off=True) <= 8
    assert tripped(shop).reason.startswith("call.errors: ")
    assert "of the candidate's calls" in tripped(shop).reason


def test_indicators_are_judged_as_errors_are(shop: Shop) -> None:
    """Of a candidate that misses the cache more often; that both arms break the promise alike only holds."""
    shop.declare(slos=["cache_hit > 90%"])
    hits = 0.5

    def act(key: str) -> None:
        on = shop.canary.is_enabled("checkout", key)
        shop.canary.observe("cache_hit", shop.draw.random() < (hits if on else 0.5))

    shop.work(120, act)
    assert shop.heard.standing is Standing.SHARED
    hits = 0.1
    assert shop.work(30, act, until_off=True) <= 10
    assert tripped(shop).reason.startswith("cache_hit: ")
    assert "were false" in tripped(shop).reason


def test_without_values_nothing_is_known_of_an_indicator(shop: Shop) -> None:
    """However well the requests do, an indicator that nobody reports is not good."""
    shop.declare(slos=["errors < 5%", "cache_hit > 90%"])
    shop.work(60, lambda key: shop.canary.is_enabled("checkout", key))
    assert shop.heard.standing is Standing.UNKNOWN


def until_probed(shop: Shop, candidate: float) -> None:
    """Serve until the breaker lets somebody in again."""
    while shop.is_off:
        shop.serve(1, candidate)


def test_a_probe_is_judged_by_the_comparison(shop: Shop) -> None:
    """One that is as bad as before fails within seconds; one that keeps its promises for three intervals passes."""
    shop.declare(probe="10%", probe_after="20s", interval="5s")
    shop.serve(20)
    shop.serve(30, candidate=0.9, until_off=True)
    trips = len(shop.told(FlagTripped))
    until_probed(shop, candidate=0.9)
    assert shop.serve(30, candidate=0.9, until_off=True) <= 10
    assert len(shop.told(FlagTripped)) == trips + 1
    assert tripped(shop).reason.startswith("the probe failed: ")
    until_probed(shop, candidate=0.1)
    shop.serve(30)
    assert shop.canary.status().flags["checkout"].breaker.state is State.CLOSED


def test_what_another_tool_gives_is_judged_as_soon_as_somebody_is_given_it(shop: Shop) -> None:
    """While nobody is, it learns; a bad candidate is taken back within seconds, whatever the tool's percentage is."""
    shop.declare(rollout=0)
    share = 0

    def act(key: str) -> None:
        if shop.canary.settled("checkout") is None:
            role = "candidate" if int(key[5:]) % 10 < share else "baseline"
            shop.canary.mark("checkout", role, value=role == "candidate")
        mark = shop.canary.units.current().marks["checkout"][0]  # type: ignore[union-attr]
        if mark.is_candidate and share > 3:
            raise OSError

    shop.work(30, act)
    assert not shop.is_judged
    share = 3
    shop.work(120, act)
    assert shop.heard.standing is Standing.GOOD
    share = 4
    assert shop.work(30, act, until_off=True) <= 8
    assert tripped(shop).reason.startswith("errors: ")


def test_when_nobody_is_given_it_any_more_the_release_is_over(shop: Shop) -> None:
    """Not for a while that somebody may be slow in; after an hour it learns again."""
    shop.declare(rollout=0)
    given = False

    def act(_: str) -> None:
        shop.canary.mark("checkout", "candidate" if given and shop.draw.random() < 0.3 else "baseline", value=True)

    judged = []
    for is_given, passed_s in ((True, 0), (False, 0), (False, 3600)):
        given = is_given
        shop.clock.advance(passed_s)
        shop.work(10, act)
        judged.append(shop.is_judged)
    assert judged == [True, True, False]


def test_who_still_finishes_after_a_release_is_no_other_tools(shop: Shop) -> None:
    """At 0 % again, requests that began before are not taken for what somebody else gives."""
    shop.serve(10)
    unit = shop.canary.units.open_request()
    token = shop.canary.units.enter(unit)
    shop.canary.mark("checkout", "candidate", value=True, context="user-1")
    shop.canary.units.leave(token)
    shop.declare(rollout=0)
    shop.serve(5)
    unit.finish(shop.clock.monotonic())
    shop.serve(5)
    assert not shop.is_judged


@pytest.mark.parametrize("life_s", [0.3, 0.7, 2.0])
def test_no_life_is_too_short_to_judge(url: str, clock: ManualClock, life_s: float) -> None:
    """Where workers come and go within less than a second, each goes on from where the one before has left off."""
    with connect(url, clock=clock, background=False) as canary:
        shop = Shop(canary, clock)
        shop.serve(0.2)
    assert live(shop, url, life_s, 12.0) == (False, 12)
    tripped, seconds = live(shop, url, life_s, 12.0, candidate=0.9)
    assert tripped
    assert seconds <= 6


def live(shop: Shop, url: str, life_s: float, seconds: float, candidate: float = 0.1) -> tuple[bool, float]:
    """Serve from one short life after another; return whether the flag went off, and after how long."""
    for life in range(round(seconds / life_s)):
        with connect(url, clock=shop.clock, background=False) as shop.canary:
            shop.serve(life_s, candidate)
            if shop.is_off:
                return True, (life + 1) * life_s
    return False, seconds
