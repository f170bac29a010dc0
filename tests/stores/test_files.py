"""Claims about configuration files: what is read, where its mistakes are, and what is left when writing fails."""

from __future__ import annotations

import json
import resource
import tomllib
from typing import TYPE_CHECKING

import pytest

from canary_sdk.core.config.configuration import parse_declaration
from canary_sdk.errors import CanaryError, ConfigError
from canary_sdk.stores import files
from canary_sdk.stores.files import configuration, read_declaration

if TYPE_CHECKING:
    from pathlib import Path


def refused(path: Path) -> ConfigError:
    """Return the error that reading gives."""
    with pytest.raises(ConfigError) as caught:
        read_declaration(path)
    assert caught.value.source == str(path)
    return caught.value


def test_mistakes_have_file_line_and_key(tmp_path: Path) -> None:
    """The message names the file, the line and the key of every mistake."""
    path = tmp_path / "canary.toml"
    path.write_text("[flags.a]\nrolout = 5\n\n[flags.b]\ntype = 'integer'\nslos = [\n  'errors < 1%',\n  5,\n]\n")
    lines = str(refused(path)).splitlines()
    assert lines[0].startswith(f"{path}:2: flags.a.rolout: unknown key, expected ")
    assert lines[0].endswith("; did you mean 'rollout'?")
    assert lines[1:] == [
        f"{path}:8: flags.b.slos.1: found 5, expected a string",
        f"{path}:4: flags.b.default: found nothing, expected the integer that is the baseline",
    ]


def test_a_good_file_is_read(tmp_path: Path) -> None:
    """A file is the declaration of its text, with a byte order mark and carriage returns too."""
    path = tmp_path / "canary.toml"
    text = '[flags.a]\r\ndescription = "ü"\r\nrollout = 5\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_declaration(str(path)) == parse_declaration(tomllib.loads(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and a folder are refused with what the system says."""
    missing = tmp_path / "no.toml"
    assert str(refused(missing)) == f"{missing}: configuration: the file cannot be read: No such file or directory"
    assert str(refused(tmp_path)) == f"{tmp_path}: configuration: the file cannot be read: Is a directory"


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused at the line of the first wrong byte."""
    path = tmp_path / "canary.toml"
    path.write_bytes("[flags.a]\n# so weit, so gut\ndescription = 'Prüfung'\n".encode("latin-1"))
    assert str(refused(path)) == f"{path}:3: configuration: the file is not UTF-8; save it as UTF-8"


def test_the_end_of_the_name_is_the_format(tmp_path: Path) -> None:
    """A name that ends in .json is read as JSON, with its lines; any other as TOML."""
    good, bad, other = (tmp_path / name for name in ("good.JSON", "bad.json", "canary.conf"))
    good.write_text(json.dumps({"flags": {"a": {"rollout": 5}}}))
    other.write_text("[flags.a]\nrollout = 5\n")
    assert read_declaration(good) == read_declaration(other)
    bad.write_text('{\n  "flags": {\n    "a": {\n      "rolout": 5\n    }\n  }\n}\n')
    assert str(refused(bad)).startswith(f"{bad}:4: flags.a.rolout: unknown key, expected ")


def test_whoever_finds_a_mistake_it_is_placed(tmp_path: Path) -> None:
    """A mistake that is found later, while the file is being used, has its file and line as well."""
    path = tmp_path / "canary.toml"
    path.write_text("\n[flags.a]\nrollout = 5\n")
    with pytest.raises(ConfigError) as caught, configuration(path):
        parse_declaration({"flags": {"a": {"rollout": 101}}})
    assert str(caught.value).startswith(f"{path}:3: flags.a.rollout: found 101")


def test_a_dictionary_has_no_lines() -> None:
    """The mistakes of a dictionary are told by their keys alone."""
    with pytest.raises(ConfigError, match=r"^flags\.a\.rollout: found 101"), configuration({"x": 1}):
        parse_declaration({"flags": {"a": {"rollout": 101}}})


@pytest.mark.parametrize("name", ["all.toml", "all.json"])
def test_a_written_file_is_read(tmp_path: Path, name: str) -> None:
    """What is written comes back, and nothing else is left in the folder."""
    data = {"flags": {"a": {"description": "ü\n\"'\\ \x00🐤", "rollout": 0.125}}}
    files.write(tmp_path / name, data)
    with configuration(tmp_path / name) as found:
        assert found == data
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_old_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """If the disk gives out in the middle of writing, the old file stays as it was, and no half of the new one."""
    path = tmp_path / "all.json"
    files.write(path, {"flags": {}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(CanaryError, match="the file cannot be written: File too large"):
            files.write(path, {"flags": {"a": {"description": "x" * 1_000}}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads(path.read_text()) == {"flags": {}}
    assert [each.name for each in tmp_path.iterdir()] == ["all.json"]


def test_writing_is_refused_in_words(tmp_path: Path) -> None:
    """A name of no known format, and a folder that is not there, are refused; an old file stays as it was."""
    (tmp_path / "all.toml").mkdir()
    for path, words in {
        tmp_path / "all.yaml": "expected a name that ends in .toml or .json",
        tmp_path / "no" / "all.json": "the file cannot be written: No such file or directory",
        tmp_path / "all.toml": "the file cannot be written: Is a directory",
    }.items():
        with pytest.raises(CanaryError, match=words):
            files.write(path, {"flags": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["all.toml"]
