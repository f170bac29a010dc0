"""A rollout of 31 hours, every request of it drawn: what is found, how long that takes, how much is kept of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.rollout import KEY, classic, journal_of
from canary_sdk.core.breaker import AutoRollback
from canary_sdk.core.judge.verdict import Outcome
from canary_sdk.core.rollout.state import Status
from canary_sdk.evidence.record import Conclusion
from canary_sdk.evidence.rollout import record_of
from canary_sdk.stores.repository import DocumentRepository
from canary_sdk.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]


def test_the_classic_plan(tmp_path: Path) -> None:
    """31 hours take less than a minute of the processor; three stages pass, the fourth is about 8.4 and 2.6 % over.

    The journal of ten such flags, with everything else that the store holds, is less than 20 megabytes.
    """
    path = tmp_path / "canary.db"
    store = SQLiteStore(path)
    repository = DocumentRepository(store, "production")
    began = time.process_time()
    state = classic(AutoRollback(), repository, seed=31).run()
    assert time.process_time() - began < 60
    assert state.status is Status.PROMOTED
    record = record_of(journal_of(repository), KEY, "production")
    assert record.conclusion is Conclusion.PASSED
    verdicts = [stage.verdict for stage in record.stages[1:5] if stage.verdict]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS] * 3 + [Outcome.ACCEPTABLE]
    over = {finding.slo.name: 100 * (finding.load - 1) for finding in verdicts[3].findings}
    assert over["p95"] == pytest.approx(8.375, abs=0.3)
    assert over["p99"] == pytest.approx(2.625, abs=0.6)
    assert "the noise of single intervals alone would have rolled it back" in record.otherwise
    lines = store.journal(f"production/{KEY}", limit=100_000)
    assert len(lines) > 2 * 31 * 120
    for number in range(9):
        copies = [type(line)(f"production/{KEY}-{number}", line.at, line.text) for line in lines]
        store.commit([], actor="", reason="", at=0.0, journal=copies)
    store.close()
    assert path.stat().st_size < 20e6


def test_the_classic_plan_without_tolerance(tmp_path: Path) -> None:
    """Where nothing is tolerated the fourth stage is a breach, and is taken back."""
    repository = DocumentRepository(SQLiteStore(tmp_path / "canary.db"), "production")
    state = classic(AutoRollback(tolerance=0.0), repository).run()
    assert (state.status, state.stage) == (Status.ABORTED, 4)
    record = record_of(journal_of(repository), KEY, "production")
    outcomes = [stage.verdict.outcome for stage in record.stages[1:5] if stage.verdict]
    assert outcomes == [Outcome.PASS] * 3 + [Outcome.BREACH]
    assert record.conclusion is Conclusion.FAILED
