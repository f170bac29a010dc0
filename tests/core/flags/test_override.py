"""Claims about the answer that a person forces."""

from __future__ import annotations

from typing import Any

import pytest

from canary_sdk.core.config.configuration import parse_flag
from canary_sdk.core.flags.evaluation import Reason, Role
from canary_sdk.core.flags.override import forced

SWITCH: dict[str, Any] = {}
PAGE = {"type": "integer", "default": 20, "candidate": 50}
BUTTON = {"type": "string", "default": "grey", "variants": {"red": {"value": "#f00"}, "blue": {"value": "#00f"}}}


@pytest.mark.parametrize(
    ("fields", "wanted", "variant", "value"),
    [
        (SWITCH, True, "on", True),
        (SWITCH, "off", "off", False),
        ({"default": True, "candidate": False}, True, "on", True),
        ({"default": True, "candidate": False}, False, "off", False),
        (PAGE, True, "candidate", 50),
        (PAGE, False, "baseline", 20),
        (PAGE, "candidate", "candidate", 50),
        (BUTTON, "blue", "blue", "#00f"),
        (BUTTON, False, "baseline", "grey"),
    ],
)
def test_what_is_wanted_is_answered(fields: dict[str, Any], wanted: bool | str, variant: str, value: object) -> None:
    """True is on, or the one candidate; False is off, or the baseline; a text is a variant. It is measured apart."""
    told = forced(parse_flag("f", fields).base, wanted)
    assert (told.flag_key, told.variant, told.value) == ("f", variant, value)
    assert (told.reason, told.role) == (Reason.OVERRIDE, Role.APART)


@pytest.mark.parametrize(
    ("fields", "wanted", "sentence"),
    [
        (SWITCH, "onn", "f: found 'onn', expected 'off' or 'on'; did you mean 'on'?"),
        (BUTTON, True, "f: found true, expected 'baseline', 'blue' or 'red'"),
        (BUTTON, "bleu", "f: found 'bleu', expected 'baseline', 'blue' or 'red'; did you mean 'blue'?"),
    ],
)
def test_what_the_flag_does_not_have_is_refused(fields: dict[str, Any], wanted: bool | str, sentence: str) -> None:
    """With what it has, and what may have been meant; True says nothing where there are several candidates."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole sentence is looked at
        forced(parse_flag("f", fields).base, wanted)
    assert str(caught.value) == sentence
