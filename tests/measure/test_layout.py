"""The layout is what the documentation says. Run as a script, this rewrites the tables of `docs/arena.md`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from canary_sdk.measure import layout
from canary_sdk.measure.layout import (
    ARM,
    BLOCK,
    COUNTS,
    HEADER,
    LEARNT,
    PARTS,
    SEEN,
    SEGMENT,
    TERMS,
    TRIAL,
    WORD,
    Field,
    size_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "arena.md"
RECORDS = {
    "Header": HEADER,
    "Arm": ARM,
    "Segment": SEGMENT,
    "Block": BLOCK,
    "Trial": TRIAL,
    "Terms": TERMS,
    "Seen": SEEN,
    "Counts": COUNTS,
    "Learnt": LEARNT,
}


def _table(*rows: tuple[object, ...]) -> list[str]:
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""]


def _record(title: str, record: tuple[Field, ...]) -> list[str]:
    rows, offset = [], 0
    for field in record:
        rows.append((offset, field.words * WORD, f"`{field.name}`", field.meaning))
        offset += field.words * WORD
    return [f"### {title}, {size_of(record)} bytes", "", *_table(("byte", "bytes", "name", "meaning"), *rows)]


def tables() -> str:
    """Return the generated part of the page."""
    parts = [
        (f"{part.offset:,}", f"{part.size:,}", f"{part.records:,}", f"`{part.name}`", part.meaning) for part in PARTS
    ]
    lines = [
        f"### File, format {layout.FORMAT}, {layout.FILE_BYTES:,} bytes",
        "",
        *_table(("byte", "bytes a record", "records", "name", "meaning"), *parts),
    ]
    for title, record in RECORDS.items():
        lines += _record(title, record)
    return "\n".join(lines)


def rewritten(text: str) -> str:
    """Return the page with its generated part replaced."""
    return re.sub(r"(?s)(<!-- layout -->\n\n).*(<!-- end of layout -->)", lambda m: m[1] + tables() + "\n" + m[2], text)


def test_the_documentation_is_the_layout() -> None:
    """`docs/arena.md` shows the table the code uses; `python -m tests.measure.test_layout` rewrites it."""
    text = PAGE.read_text()
    assert "<!-- layout -->" in text
    assert rewritten(text) == text


def test_parts_do_not_overlap_and_begin_at_pages() -> None:
    """Every part begins at a page, after the end of the one before it."""
    ends = [0]
    for part in PARTS:
        assert part.offset % layout.PAGE == 0
        assert part.offset >= ends[-1]
        ends.append(part.offset + part.size * part.records)
    assert ends[PARTS.index(layout.BLOCKS)] <= layout.FRONT_BYTES
    assert ends[-1] <= layout.FILE_BYTES


def test_records_fill_whole_cache_lines() -> None:
    """No two segments, arms or blocks share a line of 64 bytes, so that their writers do not disturb one another."""
    assert [size_of(record) % 64 for record in (ARM, SEGMENT, BLOCK, TRIAL, TERMS, SEEN, COUNTS, LEARNT)] == [0] * 8


def test_a_block_is_read_in_the_opposite_order_of_its_stores() -> None:
    """Ascending, `writes` comes first and `requests` last, after the limits, after the bins, after the errors."""
    order = [field.name for field in BLOCK]
    assert order[0] == "writes"
    assert order.index("errors") < order.index("bins") < order.index("over") < order.index("requests")
    assert order[-1] == "requests"


@pytest.mark.parametrize("position", range(0, size_of(HEADER), 7))
def test_a_header_with_a_changed_byte_is_no_header(position: int) -> None:
    """Any damage to the header is noticed."""
    whole = bytearray(layout.header(12345))
    assert layout.is_header(bytes(whole))
    whole[position] ^= 1
    assert not layout.is_header(bytes(whole))


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
