"""Claims about exports: whatever can be declared is written, read and exported again as exactly the same."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.errors import ConfigError, StoreError
from canary_sdk.ports import Change, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

if TYPE_CHECKING:
    from pathlib import Path

NEEDS_TOMLI_W: Final = pytest.mark.skipif(find_spec("tomli_w") is None, reason="tomli_w is not installed")
STAMP: Final = Stamp("ada", "", 1.0)

TEXT: Final = st.text(max_size=8) | st.sampled_from(
    ['"""', "'''", "a\r\nb\n", "\\", "\t\x00\x7f\x85\u2028", "🐤", "# no"]
)
FILLED: Final = TEXT.filter(str.strip)
NAMES: Final = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
PERCENTS: Final = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1_000)
SCALARS: Final = TEXT | st.booleans() | st.integers(-9, 9) | FLOATS
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "float": FLOATS | st.integers(-9, 9),
    "string": TEXT,
    "object": st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)
    ).filter(lambda found: isinstance(found, dict | list)),
}
SERVED: Final = {"boolean": ["on", "off"], "integer": [], "float": [], "string": [], "object": []}
SEGMENTS: Final = ["staff", "eu.west-1"]
TESTS: Final = st.one_of(
    st.fixed_dictionaries({"attribute": FILLED, "equals": SCALARS}),
    st.fixed_dictionaries({"attribute": FILLED, "in": st.lists(TEXT, min_size=1, max_size=3, unique=True)}),
    st.fixed_dictionaries({"attribute": FILLED, "starts_with": FILLED}),
    st.fixed_dictionaries({"attribute": FILLED, "number": st.sampled_from([">= 18", "between 1.5 and 2"])}),
    st.fixed_dictionaries({"attribute": FILLED, "exists": st.booleans()}),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw conditions of these, and of each other."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.fixed_dictionaries({"not": inner})
            | st.sampled_from(["all", "any"]).flatmap(
                lambda word: st.lists(inner, min_size=1, max_size=2, unique_by=repr).map(lambda parts: {word: parts})
            )
        ),
        max_leaves=4,
    )


CONDITIONS: Final = nested(TESTS | st.sampled_from(SEGMENTS).map(lambda name: {"segment": name}))


STAGES: Final = st.fixed_dictionaries(
    {"percent": st.just(100), "bake": st.floats(1, 1e6)},
    optional={
        "slos": st.lists(st.sampled_from(["p95 < 500ms", "errors<1%"]), unique=True),
        "soft": st.just(["p50 < 100ms"]),
        "approval": st.lists(FILLED, max_size=2, unique=True),
        "deadline": st.just("6h"),
    },
)
PLANS: Final = st.fixed_dictionaries(
    {"stages": STAGES.map(lambda last: [{"percent": 5, "bake": "1h"}, last])},
    optional={
        "holdback": st.sampled_from([0, 0.125, "5%"]),
        "baseline": st.just("10m"),
        "blackout": st.just(["Fri 16:00-Mon 08:00 Europe/Berlin"]),
        "start": st.floats(0, 1e10),
        "four_eyes": st.booleans(),
        "parallel": st.integers(1, 9),
        "on_deadline": st.sampled_from(["hold", "abort"]),
    },
)


@st.composite
def flags(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a flag with everything that a flag can have."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    serves = st.sampled_from(["default", "rollout", *SERVED[kind]])
    rules = st.fixed_dictionaries({"if": CONDITIONS, "serve": serves})
    optional: dict[str, st.SearchStrategy[Any]] = {
        "candidate": VALUES[kind],
        "description": TEXT,
        "owner": FILLED,
        "tags": st.lists(FILLED, max_size=2, unique=True),
        "expires": st.dates().map(str),
        "rollout": PERCENTS,
        "enabled": st.booleans(),
        "salt": FILLED,
        "slos": st.lists(st.sampled_from(["p95 < 500ms", "errors<1%", "call.p99 < 1s"]), unique=True),
        "rules": st.lists(rules, max_size=2, unique_by=repr),
        "plan": PLANS | st.just("shared"),
    }
    if kind == "boolean":
        optional["targets"] = st.fixed_dictionaries({}, optional={"on": st.lists(FILLED, max_size=2, unique=True)})
    table = draw(st.fixed_dictionaries({"type": st.just(kind), "default": VALUES[kind]}, optional=optional))
    overrides = st.fixed_dictionaries({}, optional={**optional, "default": VALUES[kind]})
    return table | draw(
        st.fixed_dictionaries({}, optional={"environments": st.dictionaries(NAMES, overrides, max_size=2)})
    )


CHANNELS: Final = st.fixed_dictionaries(
    {
        "kind": st.just("email"),
        "server": st.just("smtp.example.com:587"),
        "from": st.just("canary@example.com"),
        "to": st.lists(st.sampled_from("abc").map("{}@example.com".format), min_size=1, unique=True),
    },
    optional={
        "only_in": st.lists(NAMES, max_size=2, unique=True),
        "level": st.sampled_from(["info", "warning", "critical"]),
        "tls": st.sampled_from(["starttls", "implicit", "none"]),
    },
)
CONFIGURATIONS: Final = st.fixed_dictionaries(
    {
        "flags": st.dictionaries(NAMES, flags(), max_size=2),
        "segments": st.fixed_dictionaries(
            {name: st.fixed_dictionaries({"if": nested(TESTS)}, optional={"description": TEXT}) for name in SEGMENTS}
        ),
        "plans": st.fixed_dictionaries({"shared": PLANS}),
        "notify": st.dictionaries(NAMES, CHANNELS, max_size=2),
    },
    optional={
        "auto_rollback": st.fixed_dictionaries(
            {},
            optional={
                "tolerance": PERCENTS.map("{}%".format),
                "interval": st.floats(0.001, 1e6),
                "enabled": st.booleans(),
            },
        )
    },
)


def exact(data: object) -> str:
    """Write plain data so that nothing that differs looks alike: 1, 1.0 and true do differ."""
    return json.dumps(data, sort_keys=True)


@pytest.mark.parametrize("name", [pytest.param("all.toml", marks=NEEDS_TOMLI_W), "all.json"])
@settings(max_examples=60)
@given(config=CONFIGURATIONS)
def test_an_export_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, name: str, config: dict[str, Any]
) -> None:
    """Export, apply to an empty store, export: the same, in text with any character, numbers and nesting."""
    try:
        parse_declaration(config)
    except ConfigError:
        return  # values that a flag cannot have together
    path = tmp_path_factory.mktemp("export") / name
    first, second = (DocumentRepository(MemoryStore(), "production") for _ in range(2))
    first.apply(config, STAMP, force=False)
    data = first.export(path)
    second.apply(path, STAMP, force=False)
    assert exact(second.export(None)) == exact(data)
    text = path.read_bytes()
    second.export(path)
    assert path.read_bytes() == text


def test_damage_is_not_exported(tmp_path: Path) -> None:
    """A store with a document that cannot be read is not exported by halves; nothing is written."""
    store = MemoryStore()
    repository = DocumentRepository(store, "production")
    repository.apply({"flags": {"a": {}}}, STAMP, force=False)
    store.commit([Change("flag", "b", "{")], actor="", reason="", at=1.0)
    with pytest.raises(StoreError, match=r"^flag b, revision 1, is damaged: "):
        repository.export(tmp_path / "all.json")
    assert list(tmp_path.iterdir()) == []
    assert [(flag.key, bool(flag.damaged)) for flag in repository.flags().values()] == [("a", False), ("b", True)]
