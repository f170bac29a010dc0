"""Claims about rollouts in an application: what they serve, what moves them, and what they survive."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from canary_sdk import CanaryError, StoreError, connect
from canary_sdk.core.events import RolloutAborted, RolloutsMeet, StageStarted
from canary_sdk.core.rollout.journal import Configuration, Consent, Interval, Judged, Ruling, Transition
from canary_sdk.core.rollout.state import Status
from canary_sdk.errors import Refused, UnknownFlag
from canary_sdk.evidence.rollout import record_of
from tests.runtime.leading import FLAG, SLOS, Host, Hosts, a_config, healthy, slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from canary_sdk.testing import ManualClock


@pytest.fixture
def hosts(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Hosts that share a store."""
    return Hosts(tmp_path, clock, monkeypatch)


@pytest.fixture
def host(hosts: Hosts) -> Iterator[Host]:
    """A host on which the usual plan is declared."""
    host = hosts.start()
    host.canary.apply(a_config())
    yield host
    host.canary.close()


def lines(host: Host, kind: type[Any]) -> list[Any]:
    """Return what was written down of this kind."""
    entries = host.canary._repository.journal(FLAG)
    assert not [each.problem for each in entries if each.problem]
    return [each.record for each in entries if isinstance(each.record, kind)]


# --- moving by itself ---


def test_a_healthy_candidate_reaches_everybody_by_itself(host: Host) -> None:
    """Nobody is served before the start; then each stage for its bake time; then it is promoted, and says so."""
    host.serve(4)
    assert host.shares == [0.0]
    host.canary.rollouts.start(FLAG, actor="ana", reason="release 4.2")
    host.serve(20)
    assert host.shares == [0.0, 20.0, 100.0]
    assert host.state.status is Status.PROMOTED
    assert host.told().count("StageStarted") == 2
    assert host.told()[-1] == "RolloutPromoted" or host.told()[-1] == "WatchEnded"
    (first, second) = [event for event in host.events if isinstance(event, StageStarted)]
    assert 6 <= second.at - first.at <= 9


def test_a_candidate_that_breaks_its_promise_is_aborted(host: Host) -> None:
    """The trip aborts in the same turn; nobody is served from then on, not even once the breaker was reset."""
    host.canary.rollouts.start(FLAG)
    host.serve(4)
    assert host.share == 20
    host.serve(8, slow)
    assert host.state.status is Status.ABORTED
    assert "p95" in host.state.reason
    told = host.told()
    assert told.index("RolloutAborted") == told.index("FlagTripped") + 2
    host.canary.reset(FLAG)
    host.serve(8)
    assert host.share == 0
    assert host.state.status is Status.ABORTED


def test_a_stage_is_held_against_its_own_promises(hosts: Hosts) -> None:
    """Where a stage names SLOs they count instead of the flag's: 100 ms break the second stage, and not the first."""
    stages = [{"percent": 20, "bake": "6s"}, {"percent": 50, "bake": "6s", "slos": ["p95 < 50ms"]}]
    host = hosts.start()
    host.canary.apply(a_config(stages=[*stages, {"percent": 100, "bake": "6s"}]))
    host.canary.rollouts.start(FLAG)
    host.serve(20, lambda on: 0.1 if on else 0.01)
    assert host.state.status is Status.ABORTED
    assert host.state.stage == 2
    assert "50 ms" in host.state.reason


def test_a_soft_promise_only_holds(hosts: Hosts) -> None:
    """A breach of a soft SLO keeps the stage, serves on, and lets go when it is over."""
    stages = [{"percent": 20, "bake": "6s", "soft": ["p50 < 50ms"]}, {"percent": 100, "bake": "6s"}]
    host = hosts.start()
    host.canary.apply(a_config(stages=stages))
    host.canary.rollouts.start(FLAG)
    host.serve(20)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert "p50" in host.state.reason
    host.serve(8, lambda _: 0.01)
    assert host.share == 100


def test_without_traffic_nothing_moves(host: Host) -> None:
    """A stage that shows nothing is held, and says what is missing."""
    host.canary.rollouts.start(FLAG)
    host.serve(60, rate=0)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert host.state.reason


def test_the_baseline_is_measured_before_the_first_stage(hosts: Hosts) -> None:
    """What everybody did in stage 0 is kept: of its whole length, as it was counted."""
    host = hosts.start()
    host.canary.apply(a_config(baseline="10s"))
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(12)
    kept = host.state.baseline
    assert kept is not None
    assert 10 <= kept.seconds <= 11
    assert kept.requests == kept.seconds * 80
    assert kept.over == {0.5: 0}


def test_a_dry_run_holds_and_takes_nothing_back(hosts: Hosts) -> None:
    """Where nothing is switched off by itself, a sustained breach holds the rollout and does not abort it."""
    host = hosts.start()
    host.canary.apply(a_config())
    host.canary.apply({"auto_rollback": {"interval": "2s", "breaches": 2, "min_samples": 10, "dry_run": True}})
    host.canary.rollouts.start(FLAG)
    host.serve(20, slow)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)


def test_the_sequential_judge_leads_a_rollout_as_well(hosts: Hosts) -> None:
    """By default: its word that nothing speaks against the candidate lets a stage end, and stands in the journal."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "2s"}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(26)
    assert host.shares == [0.0, 20.0, 100.0]
    assert host.state.status is Status.PROMOTED
    weighed = [line.weighed for line in lines(host, Judged)]
    assert {each.action for each in weighed if each} == {"CONTINUE"}
    assert len([each for each in weighed if each]) >= 4


def test_an_indicator_that_nobody_reports_holds_it_under_the_default_judge_too(hosts: Hosts) -> None:
    """What is promised of an indicator has to be known as well as the rest, soft or not, and to be kept."""
    host = hosts.start()
    config = a_config(slos=[*SLOS, "cache_hit > 90%"])
    config["flags"][FLAG]["soft"] = ["basket.p50 > 20"]
    host.canary.apply({**config, "auto_rollback": {"interval": "2s"}})

    def reporting(**values: float) -> Callable[[bool], float]:
        def latency(_: bool) -> float:
            for name, value in values.items():
                host.canary.observe(name, value)
            return 0.1

        return latency

    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(20, rate=320)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert host.state.reason.endswith("no value of cache_hit in the last 2 s")
    host.serve(8, reporting(cache_hit=True), rate=320)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert host.state.reason.endswith("no value of basket in the last 2 s")
    host.serve(8, reporting(cache_hit=True, basket=10), rate=320)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert "basket.p50" in host.state.reason
    host.serve(8, reporting(cache_hit=True, basket=30), rate=320)
    assert host.share == 100


def test_where_only_what_holds_is_an_indicator_the_judge_knows_the_rest(hosts: Hosts) -> None:
    """Soft indicators that are known leave it to the judge of the hard promises to say that all is well."""
    host = hosts.start()
    config = a_config()
    config["flags"][FLAG]["soft"] = ["cache_hit > 90%"]
    host.canary.apply({**config, "auto_rollback": {"interval": "2s"}})

    def reporting(_: bool) -> float:
        host.canary.observe("cache_hit", True)
        return 0.1

    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(16, reporting, rate=320)
    assert host.share == 100
    record = record_of(host.canary.rollouts.journal(FLAG), FLAG, "production")
    (first,) = [each for each in record.checks if each.claim.startswith("Stage 1, ")]
    assert first.found == "PASS; cache_hit > 90% in 2 of 3 intervals"  # in one nobody had reported it yet


def test_a_stage_that_answers_next_to_nobody_shows_nothing(hosts: Hosts) -> None:
    """That nothing speaks against the candidate is no evidence before it has answered as many as `min_samples`."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "2s", "min_samples": 200}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(10)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert host.state.reason.startswith("the candidate has answered ")
    assert host.state.reason.endswith(" requests in this stage, at least 200 are needed")
    host.serve(10)
    assert host.share == 100


def test_a_judge_without_data_says_which_arm_is_silent(hosts: Hosts) -> None:
    """What holds it is told in a word, and not by what was counted long ago."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "2s"}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(3)
    host.serve(8, rate=0)
    assert host.state.reason == "the candidate has answered no request in the last 2 s"


def test_what_it_is_run_by_is_written_down_whenever_it_changes(hosts: Hosts, host: Host) -> None:
    """The start says what is promised; a change under way stands in the journal too, once, with the store's version."""
    host.canary.rollouts.start(FLAG, actor="ana")
    host.serve(4)
    host.canary.update(FLAG, {"slos": ["p95 < 2s"]}, actor="bo")
    host.serve(6)
    first, second = lines(host, Configuration)
    assert (first.who, first.fields["slos"]) == ("ana", SLOS)
    assert (second.who, second.fields["slos"]) == ("", ["p95 < 2s"])
    assert second.version > first.version
    after = hosts.start("a")
    after.serve(4)
    assert lines(after, Configuration) == [first, second]
    record = record_of(after.canary.rollouts.journal(FLAG), FLAG, "production")
    assert [each.fields["slos"] for each in record.configurations] == [SLOS, ["p95 < 2s"]]
    assert record.problems == ()
    after.canary.close()


def test_what_the_sequential_judge_repeats_is_written_down_once(hosts: Hosts) -> None:
    """While both arms are slow it holds at every interval, and says why at the first."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "2s"}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(4)
    host.serve(16, lambda _: 0.9)
    said = [line.weighed for line in lines(host, Judged) if line.weighed]
    held = [(each.stream, each.sentence) for each in said if each.action == "HOLD"]
    assert len(held) > 4
    assert [bool(sentence) for _, sentence in held] == [
        number == 0 or stream != held[number - 1][0] for number, (stream, _) in enumerate(held)
    ]


def test_the_sequential_judge_aborts_a_rollout_as_well(hosts: Hosts) -> None:
    """A candidate that becomes slow in its stage is taken back, and nobody is served after it."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "2s"}})
    host.canary.rollouts.start(FLAG)
    host.serve(2.5)
    host.serve(8, slow)
    (aborted,) = [event for event in host.events if isinstance(event, RolloutAborted)]
    assert "if the candidate is worse than the baseline" in aborted.reason
    assert (host.state.status, host.share) == (Status.ABORTED, 0.0)


# --- people ---


def test_people_pause_resume_advance_and_promote(host: Host) -> None:
    """Each order is kept with who gave it, takes effect within a turn, and does what it says."""
    rollouts = host.canary.rollouts
    rollouts.start(FLAG, actor="ana")
    host.serve(2)
    assert rollouts.pause(FLAG, actor="bo", reason="lunch").reason == "paused by bo: lunch"
    host.serve(20)
    assert (host.state.status, host.share) == (Status.PAUSED, 20.0)
    rollouts.resume(FLAG, actor="bo")
    host.serve(1)
    assert rollouts.advance(FLAG, actor="bo").stage == 2
    assert host.share == 100
    assert rollouts.promote(FLAG, actor="cy", reason="now").status is Status.PROMOTED
    assert [row.actor for row in host.canary.history(FLAG) if row.actor in {"ana", "bo", "cy"}] == [
        "cy",
        "bo",
        "bo",
        "bo",
        "ana",
    ]


def test_a_stage_waits_for_its_approval(hosts: Hosts) -> None:
    """It is entered once the role has agreed, and the consent is written down."""
    stages = [{"percent": 20, "bake": "6s"}, {"percent": 100, "bake": "6s", "approval": ["sre-lead"]}]
    host = hosts.start()
    host.canary.apply(a_config(stages=stages))
    host.canary.rollouts.start(FLAG, actor="ana")
    host.serve(12)
    assert host.state.reason == "stage 2 needs approval by sre-lead"
    with pytest.raises(Refused, match="needs approval by sre-lead"):
        host.canary.rollouts.advance(FLAG, actor="bo")
    host.canary.rollouts.approve(FLAG, "sre-lead", actor="bo", reason="graphs are flat")
    host.serve(3)
    assert host.share == 100
    (consent,) = lines(host, Consent)
    assert (consent.who, consent.role, consent.stage, consent.why) == ("bo", "sre-lead", 2, "graphs are flat")


def test_what_was_aborted_comes_back_by_a_restart_only(host: Host) -> None:
    """After an abort a start is refused, a restart is not, and it begins again at the first stage."""
    rollouts = host.canary.rollouts
    rollouts.start(FLAG)
    host.serve(12)
    rollouts.abort(FLAG, actor="ana", reason="wrong build")
    assert host.share == 0
    with pytest.raises(Refused, match="start is refused: checkout is ABORTED"):
        rollouts.start(FLAG)
    assert rollouts.restart(FLAG).attempt == 2
    host.serve(3)
    assert host.share == 20


def test_nothing_begins_while_the_breaker_is_open(host: Host) -> None:
    """A start and a restart are refused until the breaker was reset."""
    host.canary.rollouts.start(FLAG)
    host.serve(12, slow)
    with pytest.raises(Refused, match="restart is refused: the breaker is open"):
        host.canary.rollouts.restart(FLAG)
    host.canary.reset(FLAG)
    host.canary.rollouts.restart(FLAG)
    host.serve(3)
    assert host.share == 20


def test_a_reset_aborts_what_nobody_has_come_to_abort(hosts: Hosts, host: Host) -> None:
    """Where the application died between the trip and the abort, the reset of the breaker does not bring it back."""
    host.canary.rollouts.start(FLAG)
    host.serve(4)
    host.canary._controller.tick = lambda *_: iter(())  # type: ignore[method-assign] # it dies before it aborts
    host.serve(6, slow)
    assert host.state.status is Status.RUNNING
    with connect(hosts.url, environment="production", background=False) as operator:
        operator.reset(FLAG)
        assert operator.rollouts.status(FLAG).status is Status.ABORTED


def test_dismissed_the_flag_has_its_own_percentage_again(hosts: Hosts) -> None:
    """Afterwards the percentage is the flag's own; under way it is refused."""
    host = hosts.start()
    config = a_config()
    config["flags"][FLAG]["rollout"] = 7
    host.canary.apply(config)
    host.canary.rollouts.start(FLAG)
    host.serve(3)
    assert host.share == 20
    with pytest.raises(Refused, match="dismiss is refused"):
        host.canary.rollouts.dismiss(FLAG)
    host.canary.rollouts.abort(FLAG)
    assert host.canary.rollouts.dismiss(FLAG).status is Status.IDLE
    host.serve(1)
    assert host.share == 7


def test_a_start_can_be_scheduled(host: Host, clock: ManualClock) -> None:
    """It begins at its time, and not before."""
    host.canary.rollouts.start(FLAG, at=clock.wall() + 30)
    host.serve(28)
    assert (host.state.status, host.share) == (Status.SCHEDULED, 0.0)
    host.serve(5)
    assert host.share == 20


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"flags": {FLAG: {"rollout": 5}}}, "checkout has no plan: declare one as [flags.checkout.plan]"),
        ({"flags": {FLAG: {"plan": "x"}}, "plans": {"x": {"stages": [{"percent": 100, "bake": 1}]}}}, None),
    ],
)
def test_a_flag_without_a_plan_is_not_started(hosts: Hosts, config: dict[str, Any], expected: str | None) -> None:
    """It says how to give it one; a plan that is shared will do."""
    host = hosts.start()
    host.canary.apply(config)
    if expected is None:
        assert host.canary.rollouts.start(FLAG).status is Status.SCHEDULED
    else:
        with pytest.raises(Refused, match=re.escape(expected)):
            host.canary.rollouts.start(FLAG)
    with pytest.raises(UnknownFlag, match="there is no flag 'nowhere'"):
        host.canary.rollouts.start("nowhere")


# --- its percentage ---


def test_an_edit_of_the_percentage_is_refused_while_there_is_a_rollout(host: Host) -> None:
    """The refusal says what to do; other fields may be edited, and what the edit does not change is no edit."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    with pytest.raises(Refused, match=r"in the hands of its rollout .*abort and dismiss that first, or force"):
        host.canary.update(FLAG, {"rollout": 50})
    with pytest.raises(Refused, match="in production"):
        host.canary.update(FLAG, {"rollout": 50}, environment="production")
    host.canary.update(FLAG, {"rollout": 50}, environment="staging")
    host.canary.update(FLAG, {"description": "new"})
    assert host.share == 20


def test_forced_it_is_taken_and_stands_in_the_history(host: Host) -> None:
    """The rollout is dismissed in the same change, which is signed as forced."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    host.canary.update(FLAG, {"rollout": 3}, force=True, actor="ana", reason="fire")
    assert (host.share, host.state.status) == (3, Status.IDLE)
    dismissal, edit = host.canary.history(FLAG, limit=2)
    assert (dismissal.kind, edit.kind) == ("rollout", "flag")
    assert {(row.actor, row.reason) for row in (dismissal, edit)} == {("ana", "forced: fire")}


def test_applying_the_file_again_moves_nothing(host: Host) -> None:
    """An application that declares another percentage at its start does not touch the rollout."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    config = a_config()
    config["flags"][FLAG]["rollout"] = 60
    host.canary.apply(config)
    assert host.share == 20


def test_an_undo_is_an_edit(host: Host) -> None:
    """Undoing a change of the percentage is refused as well, and so is undoing what a rollout did."""
    host.canary.update(FLAG, {"rollout": 5})
    edit = host.canary.history(FLAG, limit=1)[0].id
    host.canary.rollouts.start(FLAG)
    with pytest.raises(Refused, match="in the hands of its rollout"):
        host.canary.undo(edit)
    with pytest.raises(Refused, match="of the rollout of checkout cannot be undone"):
        host.canary.undo(host.canary.history(FLAG, limit=1)[0].id)


# --- what it survives ---


def test_a_killed_process_goes_on_where_it_was(hosts: Hosts, host: Host) -> None:
    """Another process of the host takes over at once, with the bake time that was stored and no more."""
    host.canary.rollouts.start(FLAG)
    host.serve(5)
    before = host.state
    assert before.stage == 1
    host.canary._arena.lease.let_go()  # the kernel lets go for whoever is killed
    successor = hosts.start()
    successor.serve(1)
    assert successor.state.baked_s == before.baked_s
    assert successor.state.controller == before.controller
    successor.serve(12)
    assert successor.shares == [20.0, 100.0]


def test_one_host_moves_it_and_another_takes_over_when_it_stands_still(hosts: Hosts, host: Host) -> None:
    """Two hosts that look at it do not disturb each other; when one is gone, the other waits, and goes on."""
    other = hosts.start("b")
    host.canary.rollouts.start(FLAG)
    host.serve(5, healthy, 80, other)
    assert other.share == 20
    controller = host.state.controller
    assert controller == host.canary._controller._name
    before = host.state
    other.serve(2)
    assert other.state == before
    other.serve(12)
    assert other.state.controller == other.canary._controller._name != controller
    assert other.share == 100
    other.canary.close()


def test_a_lost_race_is_looked_at_again(host: Host, hosts: Hosts) -> None:
    """Who finds that somebody else has stored since drops what it decided: nothing is advanced twice."""
    host.canary.rollouts.start(FLAG)
    host.serve(5.5)
    repository: Any = host.canary._repository
    save = repository.save_rollout
    raced: list[Any] = []

    def overtaken(rollout: Any, *others: Any, **named: Any) -> None:
        if not raced:
            raced.append(rollout)
            with connect(hosts.url, environment="production", background=False) as operator:
                operator.rollouts.pause(FLAG, actor="ana")
        save(rollout, *others, **named)

    repository.save_rollout = overtaken
    host.serve(20)
    assert raced
    assert (host.state.status, host.share) == (Status.PAUSED, 20.0)


def test_while_the_store_is_away_nothing_moves(host: Host) -> None:
    """What is served is served on, nobody is served more, it is said; afterwards it goes on from where it was."""
    host.canary.rollouts.start(FLAG)
    host.serve(4)
    before = host.state
    store: Any = host.canary._repository
    save, version = store.save_rollout, store.version

    def away(*_: Any, **__: Any) -> Any:
        raise StoreError("the store is away")

    store.save_rollout = store.version = away
    host.serve(60)
    assert host.share == 20
    assert "StoreLost" in host.told()
    assert host.state == before
    store.save_rollout, store.version = save, version
    host.serve(1.5)
    assert host.state.baked_s <= before.baked_s + 4
    host.serve(8)
    assert host.share == 100


def test_a_jump_of_the_wall_clock_shortens_nothing(host: Host, clock: ManualClock) -> None:
    """An hour forward or back, the stage bakes its time."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    for jump in (3600, -7200):
        clock.set_wall(clock.wall() + jump)
        host.serve(1.5)
        assert host.share == 20
    host.serve(8)
    assert host.share == 100


def test_the_kill_switch_holds_it_and_its_time_does_not_count(host: Host) -> None:
    """While nobody is served nothing bakes; once released, it goes on."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    host.canary.kill(FLAG, reason="look")
    host.serve(20)
    baked_s = host.state.baked_s
    assert host.state.status is Status.HELD
    assert baked_s < 6
    host.canary.release(FLAG)
    host.serve(12)
    assert host.share == 100


def test_a_rollout_that_cannot_be_read_serves_nobody(hosts: Hosts) -> None:
    """A damaged document stands for an aborted rollout, with the reason; nothing fails."""
    host = hosts.start()
    config = a_config()
    config["flags"][FLAG]["rollout"] = 50
    host.canary.apply(config)
    host.canary.rollouts.start(FLAG)
    host.serve(3)
    from canary_sdk.ports import Change

    host.canary._repository._store.commit(  # type: ignore[attr-defined]
        [Change("rollout", f"production/{FLAG}", '{"format":1,"fields":{"status":"?"}}')], actor="x", reason="", at=0.0
    )
    host.serve(2)
    assert host.share == 0
    assert "is damaged" in host.canary.status().rollouts[FLAG].reason


# --- more than one ---


def test_no_more_begin_than_the_plan_allows(hosts: Hosts, clock: ManualClock) -> None:
    """The second waits until the first is through, also where both are started in the same moment."""
    host = hosts.start()
    config = a_config(parallel=1)
    config["flags"]["other"] = config["flags"][FLAG]
    host.canary.apply(config)
    host.canary.rollouts.start(FLAG)
    host.canary.rollouts.start("other")
    host.serve(3)
    assert host.share == 20
    assert "1 other rollout is under way" in host.canary.rollouts.status("other").reason
    host.serve(16)
    assert host.state.status is Status.PROMOTED
    assert host.canary.rollouts.status("other").stage == 1


def test_two_that_begin_in_the_same_moment_do_not_both(hosts: Hosts, clock: ManualClock) -> None:
    """Each host has counted that there is room, and the other one begins before it has stored: it looks again."""
    host, other = hosts.start("a"), hosts.start("b")
    config = a_config(parallel=1)
    config["flags"]["other"] = config["flags"][FLAG]
    host.canary.apply(config)
    for each, flag_key in ((host, FLAG), (other, "other")):
        each.canary.rollouts.start(flag_key, at=clock.wall() + 3)
        each.tick()  # it is this host's from now on
    repository: Any = host.canary._repository
    save = repository.save_rollout
    raced: list[str] = []

    def overtaken(rollout: Any, *others: Any, **named: Any) -> None:
        if rollout.stage == 1 and not raced:
            raced.append(rollout.flag_key)
            other.tick()
        save(rollout, *others, **named)

    repository.save_rollout = overtaken
    host.serve(6, healthy, 80, other)
    assert raced == [FLAG]
    assert host.canary.rollouts.status("other").stage == 1
    assert host.state.stage == 0
    assert "1 other rollout is under way" in host.state.reason
    other.canary.close()


def test_two_that_meet_in_the_same_requests_are_told_of(hosts: Hosts) -> None:
    """Once for as long as both are under way; of flags that are not, or not met together, nothing is told."""
    host = hosts.start()
    config = a_config()
    config["flags"] |= {"apart": config["flags"][FLAG], "other": config["flags"][FLAG], "still": {"rollout": 50}}
    host.canary.apply(config)
    for flag_key in (FLAG, "apart", "other"):
        host.canary.rollouts.start(flag_key)

    def meet(*flag_keys: str) -> None:
        for _ in range(4):
            with host.canary.scope("both", key="user-1"):
                for flag_key in flag_keys:
                    host.canary.is_enabled(flag_key)
            host.clock.advance(0.5)
            host.tick()

    meet(FLAG, "still")
    meet("apart")
    assert "RolloutsMeet" not in host.told()
    meet("other", FLAG, "still")
    (met,) = [event for event in host.events if isinstance(event, RolloutsMeet)]
    assert (met.flag_key, met.other) == (FLAG, "other")


def test_nothing_advances_in_a_blackout(hosts: Hosts, clock: ManualClock) -> None:
    """By the clocks of the place: 16:00 in Berlin is 14:00 UTC in summer; what is out stays out."""
    clock.set_wall(1_750_427_995.0)  # Friday 2025-06-20, 13:59:55 UTC
    host = hosts.start()
    host.canary.apply(a_config(blackout=["Fri 16:00-Mon 08:00 Europe/Berlin"]))
    host.canary.rollouts.start(FLAG)
    host.serve(3)
    assert host.share == 20
    host.serve(20)
    assert (host.state.status, host.share) == (Status.HELD, 20.0)
    assert "blackout Fri 16:00-Mon 08:00 Europe/Berlin" in host.state.reason
    clock.set_wall(1_750_658_395.0)  # Monday, 05:59:55 UTC
    host.serve(4)
    assert host.share == 20
    host.serve(6)
    assert host.share == 100


# --- the journal ---


def test_everything_is_written_down(host: Host) -> None:
    """What was counted and found in each interval, each new decision, each change of stage, the configuration."""
    host.canary.rollouts.start(FLAG, actor="ana")
    host.serve(24)
    assert [(line.before, line.after, line.stage) for line in lines(host, Transition)] == [
        ("IDLE", "SCHEDULED", 0),
        ("SCHEDULED", "RUNNING", 1),
        ("RUNNING", "RUNNING", 2),
        ("RUNNING", "PROMOTED", 3),
    ]
    assert [line.action for line in lines(host, Ruling)][-1] == "PROMOTE"
    (configuration,) = lines(host, Configuration)
    assert configuration.fields["plan"]["stages"][0]["percent"] == 20
    intervals, judged = lines(host, Interval), lines(host, Judged)
    assert len(intervals) == len(judged)
    assert {line.stage for line in intervals} == {1, 2}
    assert 5 <= len(intervals) <= 8
    assert all(line.candidate.requests + line.baseline.requests == 160 for line in intervals if line.baseline)


def test_the_last_interval_before_an_abort_is_written_down(host: Host) -> None:
    """What tripped it can be read afterwards: as many breaches as it took, and the abort."""
    host.canary.rollouts.start(FLAG)
    host.serve(14, slow)
    assert lines(host, Judged)[-1].breaches == 2
    assert lines(host, Ruling)[-1].action == "ABORT"
    (aborted,) = [event for event in host.events if isinstance(event, RolloutAborted)]
    assert aborted.stage == 1


def test_the_history_says_what_spoke_for_each_step(host: Host) -> None:
    """Who looks up why everybody has the candidate reads what was shown, and not that the next stage bakes."""
    host.canary.rollouts.start(FLAG, actor="ana", reason="release 4.2")
    host.serve(20)
    rows = host.canary.history(FLAG)[::-1]
    assert [row.reason for row in rows if any(each.path[-1] == "stage" for each in row.differences)] == [
        "it begins",
        "stage 1 kept its promises",
        "all 2 stages kept their promises",
    ]
    (started,) = [row for row in rows if row.reason == "release 4.2"]
    assert [each.path[-1] for each in started.differences] == ["attempt", "status"]


def test_what_a_trip_cuts_short_is_written_down(hosts: Hosts) -> None:
    """The figures between the last interval and the trip, and the word of the judge that tripped it."""
    host = hosts.start()
    stages = [{"percent": 20, "bake": "1h"}, {"percent": 100, "bake": "1h"}]
    host.canary.apply({**a_config(stages=stages), "auto_rollback": {"interval": "10s"}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(12)
    whole = lines(host, Interval)
    host.serve(6, slow)
    assert host.state.status is Status.ABORTED
    intervals, judged = lines(host, Interval), lines(host, Judged)
    assert intervals[:-1] == whole
    assert [line.at for line in intervals] == [line.at for line in judged]
    assert 0 < intervals[-1].candidate.seconds < 10
    assert intervals[-1].candidate.over[0.5] > 10
    assert judged[-1].weighed is not None
    assert judged[-1].weighed.action == "ROLLBACK"
    record = record_of(host.canary.rollouts.journal(FLAG), FLAG, "production")
    assert record.problems == ()
    (kept,) = [check for check in record.checks if "keeps its promises" in check.claim]
    assert kept.held is False


def test_what_another_host_trips_for_is_written_down_too(hosts: Hosts) -> None:
    """One host moves it, the other one finds the fault: its figures are those that explain the abort."""
    host, other = hosts.start("a"), hosts.start("b")
    stages = [{"percent": 20, "bake": "1h"}, {"percent": 100, "bake": "1h"}]
    host.canary.apply({**a_config(stages=stages), "auto_rollback": {"interval": "10s"}})
    host.serve(4, healthy, 80, other)
    host.canary.rollouts.start(FLAG)
    host.serve(8, healthy, 80, other)
    assert host.state.controller == host.canary._controller._name
    for _ in range(20):
        other.serve(0.5, slow)
        host.tick()
    assert host.state.status is Status.ABORTED
    last, judged = lines(host, Interval)[-1], lines(host, Judged)[-1]
    assert last.candidate.over[0.5] > 10
    assert judged.weighed is not None
    assert judged.weighed.action == "ROLLBACK"
    assert record_of(host.canary.rollouts.journal(FLAG), FLAG, "production").problems == ()
    other.canary.close()


@pytest.mark.parametrize(
    "ends_at",
    [
        pytest.param(1_774_850_400.0, id="to summer time"),
        pytest.param(1_792_998_000.0, id="from summer time"),
        pytest.param(1_781_503_200.0, id="no change"),
    ],
)
def test_a_blackout_ends_by_the_clock_on_the_wall(hosts: Hosts, clock: ManualClock, ends_at: float) -> None:
    """On Monday at 08:00 in Berlin, whichever hour that is in UTC after the clocks were changed on Sunday."""
    clock.set_wall(ends_at - 20)
    host = hosts.start()
    host.canary.apply(a_config(blackout=["Fri 16:00-Mon 08:00 Europe/Berlin"]))
    host.canary.rollouts.start(FLAG)
    host.serve(18)
    assert (host.state.stage, host.share) == (0, 0.0)
    assert "blackout" in host.state.reason
    host.serve(6)
    assert host.share == 20


def test_what_is_cut_short_in_a_new_stage_is_of_that_stage(hosts: Hosts) -> None:
    """An interval that began before the stage tells nothing of it: what is written down begins with the stage."""
    host = hosts.start()
    host.canary.apply({**a_config(), "auto_rollback": {"interval": "10s"}})
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    while host.state.stage < 2:
        host.serve(0.5)
    host.serve(8, slow)
    assert host.state.status is Status.ABORTED
    moved = lines(host, Transition)
    last = lines(host, Interval)[-1]
    assert last.at - last.candidate.seconds >= moved[-2].at - 0.01
    assert last.candidate.over[0.5] > 0.9 * last.candidate.requests


@pytest.mark.parametrize("plan", [{}, {"baseline": "4s"}], ids=["not asked for", "measured"])
def test_the_frozen_baseline_is_written_down(hosts: Hosts, plan: dict[str, Any]) -> None:
    """What was counted while everybody had the baseline stands where stage 1 begins, and in the report."""
    host = hosts.start()
    host.canary.apply(a_config(**plan))
    host.serve(4)
    host.canary.rollouts.start(FLAG)
    host.serve(12)
    (frozen,) = [line.baseline for line in lines(host, Transition) if line.baseline]
    assert frozen == host.state.baseline
    assert frozen.requests >= 80
    assert frozen.quantiles[0.5] == pytest.approx(0.1, rel=0.02)
    record = record_of(host.canary.rollouts.journal(FLAG), FLAG, "production")
    assert record.stages[0].name == "before stage 1"
    assert record.stages[0].seen == {"baseline": frozen}


def test_a_pause_before_the_first_stage_loses_nothing_of_the_baseline(hosts: Hosts) -> None:
    """What was counted before it still counts: what is kept is as long as the plan asks for."""
    host = hosts.start()
    host.canary.apply(a_config(baseline="10s"))
    host.canary.rollouts.start(FLAG)
    host.serve(6)
    host.canary.rollouts.pause(FLAG)
    host.serve(4)
    host.canary.rollouts.resume(FLAG)
    host.serve(8)
    assert host.share == 20
    assert host.state.baseline is not None
    assert host.state.baseline.seconds >= 10


def test_errors_of_orders_are_of_the_package(host: Host) -> None:
    """Whoever catches `CanaryError` catches a refusal."""
    with pytest.raises(CanaryError):
        host.canary.rollouts.pause(FLAG)


def test_a_disabled_flag_bakes_nothing(host: Host) -> None:
    """Nobody is served, so nothing is shown; enabled again, it goes on from where it was."""
    host.canary.rollouts.start(FLAG)
    host.serve(2)
    host.canary.update(FLAG, {"enabled": False})
    host.serve(20)
    assert host.state.status is Status.HELD
    assert host.state.reason.endswith("the flag is disabled")
    assert host.state.baked_s < 6
    host.canary.update(FLAG, {"enabled": True})
    host.serve(12)
    assert host.share == 100
