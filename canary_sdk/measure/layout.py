"""The arena's file, byte by byte: one table, and what follows from it. It opens, maps and locks nothing.

All words are unsigned 64-bit integers in the order of the machine that wrote them, at addresses that divide by eight.
The file is made of the parts of `PARTS`, in this order, each beginning at a multiple of 4,096 bytes; a part is an array
of equal records. `HEADER`, `ARM`, `SEGMENT`, `BLOCK`, `TRIAL`, `TERMS`, `SEEN`, `COUNTS` and `LEARNT` name the words of
a record, in order. `docs/arena.md` shows the same table with its offsets, and a test holds the two together.

The order of a block is a promise. Whoever counts a request stores from the end of the block to its beginning: first
`requests`, then `over`, then its bin, then `errors`, sums, `aborted`, and `writes` last. Whoever reads goes from the
beginning to the end. So a reader never sees more errors, more requests over a limit or more samples in the bins than
there are requests, and two equal readings of `writes` mean that nothing was missed in between. (A processor that lets
one core see another's stores out of order can show the very last request incompletely; the next reading is right.)

Whoever changes a size, a position or a meaning changes `FORMAT`.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from canary_sdk.core.judge.strata import MICRO_BANDS, STRATA
from canary_sdk.measure.sketch import BINS

FORMAT: Final = 3
MAGIC: Final = int.from_bytes(b"canaries", "little")
WORD: Final = 8
PAGE: Final = 4_096

FLAGS: Final = 16_384
"""Guard bytes; slot 0 belongs to nobody, and is read by the flags that got no slot."""
ARMS: Final = 1_024
SEGMENTS: Final = 128
"""Processes that can count at the same time: two workers a core and one more, as servers advise, on 63 cores."""
LIMITS: Final = 16
"""Limits that one arm can be held against, over the life of the file."""
NAME_BYTES: Final = 112
TRIALS: Final = 64
"""Flags that can be on trial at the same time."""
PLACES: Final = 65_536
"""Places in which it is noted whether a user was seen; users that share one count as one."""
CELLS: Final = 32
"""Latency cells that a stratum can have; it has one edge less."""
SIDES: Final = 3
"""Who is counted apart in a trial: the candidate, a part of the baseline that plays it, and the rest."""
BANDS: Final = 100
"""Of how many bands of buckets, one percent each, errors are counted before a release."""


class Field(NamedTuple):
    """A word, or a run of `words` words, of a record."""

    name: str
    words: int
    meaning: str


HEADER: Final = (
    Field("magic", 1, "the letters `canaries`, first letter in the lowest byte"),
    Field("format", 1, "the version of this layout"),
    Field("size", 1, "bytes of the file"),
    Field("created", 1, "wall clock at creation, nanoseconds since the epoch"),
    Field("flags", 1, "guard bytes, and words of the flag directory"),
    Field("arms", 1, "records of the arm directory"),
    Field("segments", 1, "processes that can count at the same time"),
    Field("limits", 1, "limits an arm"),
    Field("bins", 1, "bins of a block's sketch"),
    Field("checksum", 1, "CRC-32 of the words before it"),
)
ARM: Final = (
    Field("hash", 1, "hash of the whole name; 0: the record is free; written last"),
    Field("spare", 1, "zero"),
    Field("limits", LIMITS, "limits in nanoseconds; 0: the cell is free; a cell never changes again"),
    Field("name", NAME_BYTES // WORD, "the name in UTF-8, cut off at 112 bytes, filled up with zeros"),
)
SEGMENT: Final = (
    Field("pid", 1, "the owner; 0: given back"),
    Field("started", 1, "when the owner started, in the kernel's ticks after boot; 0: not known"),
    Field("generation", 1, "how many owners there have been; 0: never claimed"),
    Field("heartbeat", 1, "the owner's last sign of life, monotonic clock, nanoseconds"),
    Field("spare", 4, "zero"),
)
BLOCK: Final = (
    Field("writes", 1, "how often the block has changed"),
    Field("aborted", 1, "requests whose client went away before an answer, and that are counted nowhere else"),
    Field("early", 1, "requests that were over a limit while they were still open"),
    Field("streams", 1, "finished requests that streamed their answer"),
    Field("response_start_ns", 1, "sum of the times to the start of the response, of finished requests"),
    Field("latency_ns", 1, "sum of the durations of finished requests"),
    Field("errors", 1, "finished requests that failed"),
    Field("spare", 8, "zero"),
    Field("bins", BINS, "finished requests by duration; `canary_sdk.measure.sketch` says which bin"),
    Field("over", LIMITS, "requests over the limit in the same cell of the arm's record"),
    Field("requests", 1, "requests that are finished, or known to be over a limit"),
)
TRIAL: Final = (
    Field("hash", 1, "hash of the flag key; 0: the record is free; written last"),
    Field("version", 1, "how often its terms have changed, times two; odd while they are being changed"),
    Field("batch", 1, "the number of the batch that is being counted"),
    Field("began_ns", 1, "what began before this is not counted, monotonic clock, nanoseconds"),
    Field("mode", 1, "0: nothing is counted, 1: before a release, 2: a release"),
    Field("seed", 1, "the flag's hash seed"),
    Field("first", 1, "before a release: buckets below this are the future candidates"),
    Field("pseudo", 1, "in a release: places below this play the candidate on the baseline"),
    Field("middle", 1, "the stratum of whom nothing is known"),
    Field("spare", 7, "zero"),
)
TERMS: Final = (
    Field("candidate", STRATA * CELLS, "edges of the candidate's cells in nanoseconds, a stratum after the other"),
    Field("baseline", STRATA * CELLS, "the same of the baseline's; 0 after the last of a stratum"),
    Field("strata", MICRO_BANDS // WORD, "a byte a micro-band: its stratum"),
)
SEEN: Final = (
    Field("batch", PLACES // 64, "a bit a place, the lowest of a byte first: a user of it was counted in this batch"),
    Field("stage", PLACES // 64, "the same: a user of it was seen in this stage"),
)
COUNTS: Final = (
    Field("writes", 1, "how often the block has changed"),
    Field("newcomers", 2, "users seen for the first time in this stage: the candidate's, the baseline's"),
    Field("errors", SIDES, "units that failed, by side"),
    Field("units", SIDES, "units that have ended, by side"),
    Field("spare", 7, "zero"),
    Field("cells", SIDES * STRATA * CELLS, "units by side, stratum and latency, or age"),
)
LEARNT: Final = (
    Field("band_errors", BANDS, "units that failed, by band of buckets"),
    Field("band_units", BANDS, "units that have ended, by band of buckets"),
    Field("pasts", MICRO_BANDS, "by micro-band: units in the upper 27 bits, the sum of their bins in the others"),
)
PAST_BITS: Final = 37
"""Of the sum: as many units as 27 bits can tell, each in a bin below 1,024, add up to no more."""


class Part(NamedTuple):
    """An array of `records` records of `size` bytes, beginning at `offset`."""

    name: str
    size: int
    records: int
    meaning: str
    offset: int = 0

    @property
    def end(self) -> int:
        """The offset of the page after it."""
        return -(-(self.offset + self.size * self.records) // PAGE) * PAGE


def size_of(record: tuple[Field, ...]) -> int:
    """Return the bytes of a record."""
    return WORD * sum(field.words for field in record)


def cell_of(record: tuple[Field, ...], name: str) -> int:
    """Return the position of a named word in its record, counted in words."""
    names = [field.name for field in record]
    return sum(field.words for field in record[: names.index(name)])


def _one_after_another(*parts: Part) -> tuple[Part, ...]:
    placed: list[Part] = []
    for part in parts:
        placed.append(part._replace(offset=placed[-1].end if placed else 0))
    return tuple(placed)


PARTS: Final = _one_after_another(
    Part("header", PAGE, 1, "what the file is"),
    Part("guard", 1, FLAGS, "what evaluations look at: not 0 means that the flag is held back"),
    Part("flags", WORD, FLAGS, "hash of the flag key whose guard byte has the same number; 0: free"),
    Part("arms", size_of(ARM), ARMS, "the arm directory"),
    Part(
        "touched", SEGMENTS, ARMS, "a byte a segment: not 0 means that this segment's block of the arm is really there"
    ),
    Part("segments", size_of(SEGMENT), SEGMENTS, "who counts in a segment"),
    Part("trials", size_of(TRIAL), TRIALS, "the flags on trial"),
    Part("counting", SEGMENTS, TRIALS, "a byte a segment: not 0 means that this segment's counts are really there"),
    Part("learning", SEGMENTS, TRIALS, "a byte a segment: not 0 means that what it learns is really there"),
    Part("blocks", size_of(BLOCK), SEGMENTS * ARMS, "counters: all arms of the first segment, then of the next one"),
    Part("terms", size_of(TERMS), TRIALS, "by what the units of a trial are counted"),
    Part("seen", size_of(SEEN), TRIALS, "who was seen in a trial"),
    Part("counts", size_of(COUNTS), SEGMENTS * TRIALS, "counters of trials, in the order of the blocks"),
    Part("learnt", size_of(LEARNT), SEGMENTS * TRIALS, "what is counted before a release, in the same order"),
)
(
    HEAD,
    GUARD,
    FLAG_DIRECTORY,
    ARM_DIRECTORY,
    TOUCHED,
    SEGMENT_TABLE,
    TRIAL_DIRECTORY,
    COUNTING,
    LEARNING,
    BLOCKS,
    TRIAL_TERMS,
    TRIAL_SEEN,
    TRIAL_COUNTS,
    TRIAL_LEARNT,
) = PARTS
FRONT_BYTES: Final = BLOCKS.offset
"""Everything before the blocks: really allocated when the file is made, and all there is of a private mapping."""
FILE_BYTES: Final = TRIAL_LEARNT.end


def header(created_ns: int) -> bytes:
    """Return the header of a file created then."""
    words = struct.pack("=9Q", MAGIC, FORMAT, FILE_BYTES, created_ns, FLAGS, ARMS, SEGMENTS, LIMITS, BINS)
    return words + struct.pack("=Q", zlib.crc32(words))


def is_header(data: bytes) -> bool:
    """Tell whether `data` is a whole header of this format: the one that would be written for its own creation time."""
    created = cell_of(HEADER, "created") * WORD
    return data == header(int.from_bytes(data[created : created + WORD], _BYTE_ORDER))


_BYTE_ORDER: Final = "little" if struct.pack("=H", 1)[0] else "big"
