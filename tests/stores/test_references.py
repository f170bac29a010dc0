"""Claims about documents that refer to each other: what is refused, what is kept, and what is taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from canary_sdk import ConfigError, connect
from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.ports import Change, Stamp
from canary_sdk.stores.memory import MemoryStore
from canary_sdk.stores.repository import DocumentRepository

if TYPE_CHECKING:
    from pathlib import Path

STAMP: Final = Stamp("tester", "test", 1.0)
STAFF: Final = {"if": {"attribute": "mail", "ends_with": "@shop.example"}, "description": "everybody who works here"}
RULE: Final = {"if": {"segment": "staff"}, "serve": "on"}


@pytest.fixture
def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> DocumentRepository:
    """The store as the runtime sees it, in an environment."""
    return DocumentRepository(store, "test")


def declare(repository: DocumentRepository, data: dict[str, Any]) -> None:
    """Apply a configuration."""
    repository.apply(data, STAMP, force=False)


def refusal(repository: DocumentRepository, data: dict[str, Any]) -> list[str]:
    """Return why a configuration is refused; the store must be as before."""
    before = repository.export(None)
    with pytest.raises(ConfigError) as caught:
        declare(repository, data)
    assert repository.export(None) == before
    return [str(problem) for problem in caught.value.problems]


def test_a_segment_is_stored_loaded_and_exported(repository: DocumentRepository) -> None:
    """A segment is a document of its own: declared once, it serves flags that are declared later."""
    declare(repository, {"segments": {"staff": STAFF}})
    declare(repository, {"flags": {"f": {"rules": [RULE]}}})
    stored = repository.load()
    assert stored.segments == {"staff": STAFF["if"]}
    assert stored.flags["f"].rules[0].condition == {"segment": "staff"}
    assert repository.export(None)["segments"] == {"staff": STAFF}
    version = repository.version()
    declare(repository, {"segments": {"staff": STAFF}, "flags": {"f": {"rules": [RULE]}}})
    assert repository.version() == version


def test_everything_that_can_be_declared_survives_the_store(repository: DocumentRepository) -> None:
    """Variants, targets, rules, prerequisites and metadata come back from the store as they were declared."""
    fields = {
        "type": "string",
        "default": "x",
        "rollout": 50.0,
        "variants": {"green": {"value": "g", "weight": 0.5}, "blue": {"value": "b"}},
        "targets": {"green": ["u"], "baseline": ["v"]},
        "rules": [{"name": "n", "if": {"not": {"segment": "staff"}}, "serve": "rollout", "rollout": 20.0}],
        "prerequisites": [{"flag": "other", "variant": "off"}],
        "description": "d",
        "owner": "o",
        "tags": ["b", "a"],
        "created": "2026-01-31",
        "expires": "2026-12-31",
        "environments": {"test": {"targets": {}, "prerequisites": []}},
    }
    data = {"flags": {"f": fields, "other": {}}, "segments": {"staff": STAFF}}
    declare(repository, data)
    assert repository.export(None) == data
    flag = repository.load().flags["f"]
    assert (flag.targets, flag.prerequisites, flag.overridden) == ({}, (), ("prerequisites", "targets"))
    assert flag.metadata.tags == ("b", "a")
    assert flag == parse_flag("f", fields).for_environment("test")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            {"flags": {"f": {"rules": [RULE]}}},
            "flags.f.rules.0.if: found the segment 'staff', expected none: there are",
        ),
        ({"flags": {"f": {"prerequisites": [{"flag": "g", "variant": "on"}]}}}, "flags.f.prerequisites.0.flag: found "),
        ({"segments": {"a": {"if": {"segment": "a"}}}}, "segments.a.if: found a circle: a → a"),
    ],
)
def test_a_declaration_that_refers_in_vain_is_refused(
    repository: DocumentRepository, data: dict[str, Any], why: str
) -> None:
    """Nothing of it is stored, and the reference is named."""
    (problem,) = refusal(repository, data)
    assert problem.startswith(why)


def test_a_circle_through_what_is_stored_is_refused(repository: DocumentRepository) -> None:
    """What is declared is looked at together with what the store has."""
    declare(repository, {"flags": {"a": {}, "b": {"prerequisites": [{"flag": "a", "variant": "on"}]}}})
    assert "flags.a.prerequisites: found a circle: a → b → a, expected none" in refusal(
        repository, {"flags": {"a": {"prerequisites": [{"flag": "b", "variant": "on"}]}}}
    )


def test_what_others_need_is_not_taken_away(repository: DocumentRepository) -> None:
    """Deleting a required flag, or the variant that is required of it, is refused."""
    colours = {"type": "string", "default": "x", "variants": {"blue": {"value": "b"}, "red": {"value": "r"}}}
    declare(repository, {"flags": {"a": colours, "b": {"prerequisites": [{"flag": "a", "variant": "blue"}]}}})
    with pytest.raises(ConfigError, match=r"flags\.b\.prerequisites\.0\.flag: found the flag 'a'"):
        repository.delete("a", STAMP, expected=None)
    with pytest.raises(ConfigError, match=r"flags\.b\.prerequisites\.0\.variant: found 'blue'"):
        repository.update("a", {"variants": None}, STAMP, environment=None, expected=None)
    assert repository.load().flags["b"].prerequisites


def test_a_mistake_of_before_blocks_nothing_else(store: MemoryStore, repository: DocumentRepository) -> None:
    """A store in which something refers in vain already takes changes that have no part in it."""
    body = '{"fields":{"rules":[{"if":{"segment":"gone"},"serve":"on"}]},"format":1}'
    store.commit([Change("flag", "old", body)], actor="t", reason="t", at=1.0)
    declare(repository, {"flags": {"new": {}}})
    assert repository.load().flags.keys() == {"new"}


def test_what_cannot_be_compiled_is_taken_out(store: MemoryStore, repository: DocumentRepository) -> None:
    """Circles and segments that are not there are named as damaged, with all that needs them; the rest is served."""
    bodies = {
        ("segment", "a"): '{"if":{"segment":"b"}}',
        ("segment", "b"): '{"if":{"segment":"a"}}',
        ("segment", "c"): '{"if":{"segment":"a"}}',
        ("flag", "uses-c"): '{"rules":[{"if":{"segment":"c"},"serve":"on"}]}',
        ("flag", "x"): '{"prerequisites":[{"flag":"y","variant":"on"}]}',
        ("flag", "y"): '{"prerequisites":[{"flag":"x","variant":"on"}]}',
        ("flag", "z"): '{"prerequisites":[{"flag":"x","variant":"on"}]}',
    }
    changes = [Change(*place, f'{{"fields":{fields},"format":1}}') for place, fields in bodies.items()]
    store.commit(changes, actor="t", reason="t", at=1.0)
    stored = repository.load()
    assert stored.flags.keys() == {"z"}
    assert stored.segments == {}
    assert stored.damaged.keys() == {
        "segment a",
        "segment b",
        "segment c",
        "flag uses-c",
        "flag x",
        "flag y",
    }


def test_a_file_is_told_the_line(tmp_path: Path) -> None:
    """A reference that finds nothing is named with its file and line, like every other mistake."""
    path = tmp_path / "canary.toml"
    path.write_text('[flags.f]\nrollout = 5\n[[flags.f.prerequisites]]\nflag = "g"\nvariant = "on"\n', "utf-8")
    with connect("memory:", background=False) as canary, pytest.raises(ConfigError) as caught:
        canary.apply(path)
    assert str(caught.value) == (
        f"{path}:4: flags.f.prerequisites.0.flag: found the flag 'g', expected one that is declared: f"
    )


def test_a_flag_keeps_its_good_rules_while_its_segment_is_damaged(tmp_path: Path) -> None:
    """A process that had a whole flag goes on with it when the segment that it needs can no longer be read."""
    store = MemoryStore()
    with connect("memory:", environment="test", background=False) as canary:
        canary._repository = DocumentRepository(store, "test")
        canary.apply({"segments": {"staff": STAFF}, "flags": {"f": {"targets": {"on": ["u"]}, "rules": [RULE]}}})
        assert canary.is_enabled("f", "u")
        store.commit([Change("segment", "staff", "broken")], actor="t", reason="t", at=1.0)
        canary.tick()
        assert canary._table.version == store.version()
        assert canary.is_enabled("f", "u")
        assert set(canary._stored.damaged) == {"segment staff", "flag f"}
