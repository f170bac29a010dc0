"""What one batch brings to the sequential judge: integer counts of both arms, of the same second. It decides nothing.

A batch is a stretch of about one second, shorter where 50 candidate units have come before that. Whoever makes one
keeps these promises, on which the judge's own promise rests:

- **Same seconds.** Everything in a batch ended (or came of age, see below) between the same two ticks, on both arms.
- **Eligible units only.** Only answers that the percentage split decided; whatever was forced, targeted or left out
  by a rule is on neither arm.
- **Begun in this stage.** A unit that began before the promotion to the stage is left out, on both arms: long after it,
  slow ones still end, and on the baseline only. This is exact and costs no time; `Terms.skip_s` is for those who cannot
  tell.
- **One cell a unit.** A unit falls into the cell of its latency when it ends, or into the last cell when its age
  passes the last edge, whichever comes first, and never again. So a unit that hangs is seen hanging.
- **The candidate's own edges.** The candidate is counted by `Case.candidate_edges`, the baseline by `Case.edges`, each
  by those of the unit's stratum.
- **A user once a batch.** Where the key is known, only a user's first unit to end in the batch is counted: a heavy user
  cannot speak for the arm. A unit is an error or not whatever its cell; aborted ones are left out altogether.
- **The stratum** of a user is looked up in the map that was made before the rollout, and never changed during it;
  without a map everything is in the one stratum.
- **Newcomers** are users seen for the first time in this stage, not requests: heavy users would skew the split. Without
  keys, requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from canary_sdk.core.judge.evalues import Pair

Cells = tuple[int, ...]
"""How many units fell into each latency cell of one stratum."""


@dataclass(frozen=True, slots=True)
class Side:
    """One arm's counts: latency `cells` by stratum, and how many of the `units` that ended were `errors`."""

    cells: tuple[Cells, ...] = ()
    units: int = 0
    errors: int = 0

    @property
    def failed(self) -> Pair:
        """Errors and units."""
        return Pair(self.errors, self.units)

    def __add__(self, other: Side) -> Side:
        """Join two parts that were counted by the same edges; an arm on which there was nothing has none."""
        cells = self.cells or other.cells
        if self.cells and other.cells:
            cells = tuple(
                tuple(mine + theirs for mine, theirs in zip(*stratum, strict=True))
                for stratum in zip(self.cells, other.cells, strict=True)
            )
        return Side(cells, self.units + other.units, self.errors + other.errors)

    def __sub__(self, part: Side) -> Side:
        """Return what is left without `part`, which has no cells if there was nothing in it."""
        cells = self.cells
        if part.cells:
            cells = tuple(
                tuple(whole - some for whole, some in zip(*stratum, strict=True))
                for stratum in zip(self.cells, part.cells, strict=True)
            )
        return Side(cells, self.units - part.units, self.errors - part.errors)


NOBODY: Final = Side()
"""An arm on which there was nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One stretch of `seconds`, more than 0.

    `requests` are all requests of the whole service, counted when they end. `newcomers` are users first seen in this
    stage, (candidate, baseline). `pseudo` is the part of the baseline that plays the candidate in the self test: users
    of a band of buckets as wide as the candidate's, counted by the baseline's edges, and contained in `baseline`.
    """

    seconds: float
    candidate: Side = NOBODY
    baseline: Side = NOBODY
    requests: int = 0
    newcomers: tuple[int, int] = (0, 0)
    pseudo: Side | None = None

    @property
    def self_test(self) -> Batch | None:
        """The batch in which a part of the baseline plays the candidate, so that nothing at all can be found."""
        if self.pseudo is None:
            return None
        return Batch(seconds=self.seconds, candidate=self.pseudo, baseline=self.baseline - self.pseudo)
