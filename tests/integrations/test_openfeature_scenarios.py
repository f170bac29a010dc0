"""`CanaryProvider` against the flags of OpenFeature's own suites: what these ask of a provider, row by row.

The flags are those of the specification's `gherkin/test-flags.json` and `provider-tck/flags/canonical-flags.json`, in
our words: the variant that is served to everybody is the candidate of a flag at 100 %.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.hook import Hook

from canary_sdk.integrations.openfeature import CanaryProvider

if TYPE_CHECKING:
    from openfeature.client import OpenFeatureClient
    from openfeature.flag_evaluation import FlagEvaluationDetails

    from canary_sdk import Canary

    Told = FlagEvaluationDetails[Any]

TEMPLATE = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}
HIT = "5c3d8535-f81a-4478-a6d3-afaa4d51199e"
MACROSOFT = {"attribute": "email", "equals": "ballmer@macrosoft.com"}


def everybody(kind: str, default: Any, variant: str, value: Any, **more: Any) -> dict[str, Any]:
    """Return a flag that serves everybody one variant."""
    return {"type": kind, "default": default, "variants": {variant: {"value": value}}, "rollout": 100, **more}


def targeted(kind: str, zero: Any, other: Any) -> dict[str, Any]:
    """Return a flag whose rule and default both serve nothing at all."""
    if kind == "boolean":
        return {"rules": [{"if": MACROSOFT, "serve": "off"}]}
    variants = {"zero": {"value": zero}, "non-zero": {"value": other}}
    return {"type": kind, "default": zero, "variants": variants, "rules": [{"if": MACROSOFT, "serve": "zero"}]}


FLAGS: dict[str, dict[str, Any]] = {
    "boolean-flag": {"rollout": 100},
    "string-flag": everybody("string", "bye", "greeting", "hi"),
    "integer-flag": everybody("integer", 1, "ten", 10),
    "float-flag": everybody("float", 0.1, "half", 0.5),
    "object-flag": everybody("object", {}, "template", TEMPLATE),
    "boolean-zero-flag": {"default": True, "rollout": 100},
    "string-zero-flag": everybody("string", "str", "zero", ""),
    "integer-zero-flag": everybody("integer", 1, "zero", 0),
    "float-zero-flag": everybody("float", 1.0, "zero", 0.0),
    "object-zero-flag": everybody("object", TEMPLATE, "zero", {}),
    "large-integer-flag": everybody("integer", 1, "max-int32", 2**31 - 1),
    "huge-integer-flag": everybody("integer", 1, "max-safe", 2**53 - 1),
    "integral-float-flag": everybody("float", 0.1, "ten", 10.0),
    "wrong-flag": everybody("string", "dos", "one", "uno"),
    "disabled-boolean-flag": {"rollout": 100, "enabled": False},
    "disabled-string-flag": everybody("string", "bye", "greeting", "hi", enabled=False),
    "disabled-integer-flag": everybody("integer", 1, "ten", 10, enabled=False),
    "disabled-float-flag": everybody("float", 0.1, "half", 0.5, enabled=False),
    "boolean-targeted-zero-flag": targeted("boolean", False, True),
    "string-targeted-zero-flag": targeted("string", "", "str"),
    "integer-targeted-zero-flag": targeted("integer", 0, 1),
    "float-targeted-zero-flag": targeted("float", 0.0, 1.0),
    "object-targeted-zero-flag": targeted("object", {}, TEMPLATE),
    "targeting-key-flag": {
        "type": "string",
        "default": "miss",
        "variants": {"hit": {"value": "hit"}},
        "targets": {"hit": [HIT]},
    },
    "context-aware": {
        "type": "string",
        "default": "EXTERNAL",
        "variants": {"internal": {"value": "INTERNAL"}},
        "rules": [{"if": {"attribute": "customer", "equals": False}, "serve": "internal"}],
    },
    "metadata-flag": {"rollout": 100, "metadata": {"string": "1.0.2", "integer": 2, "float": 0.1, "boolean": True}},
}
"""`missing-flag`, `non-existent-flag` and `error-flag` are not there on purpose."""
DEFAULTS: dict[str, Any] = {"boolean": False, "string": "bye", "integer": 1, "float": 0.1, "object": {"a": 1}}
SERVED: list[tuple[str, str, Any, str]] = [
    ("boolean", "boolean-flag", True, "on"),
    ("string", "string-flag", "hi", "greeting"),
    ("integer", "integer-flag", 10, "ten"),
    ("float", "float-flag", 0.5, "half"),
    ("object", "object-flag", TEMPLATE, "template"),
    ("boolean", "boolean-zero-flag", False, "off"),
    ("string", "string-zero-flag", "", "zero"),
    ("integer", "integer-zero-flag", 0, "zero"),
    ("float", "float-zero-flag", 0.0, "zero"),
    ("object", "object-zero-flag", {}, "zero"),
    ("integer", "large-integer-flag", 2147483647, "max-int32"),
    ("integer", "huge-integer-flag", 9007199254740991, "max-safe"),
    ("float", "integral-float-flag", 10.0, "ten"),
]
ZEROES: dict[str, Any] = {"boolean": False, "string": "", "integer": 0, "float": 0.0, "object": {}}
OTHERS: list[tuple[str, str]] = [
    *((asked, "string-flag") for asked in ("boolean", "integer", "float", "object")),
    *((asked, "wrong-flag") for asked in ("boolean", "integer")),
    *((asked, "boolean-flag") for asked in ("string", "integer", "float", "object")),
    *((asked, "integer-flag") for asked in ("boolean", "string", "object")),
    *((asked, "float-flag") for asked in ("boolean", "string", "integer", "object")),
    *((asked, "object-flag") for asked in ("boolean", "string", "integer", "float")),
]
"""What is asked for as what it is not."""


@pytest.fixture
def client(canary: Canary, openfeature: Any) -> OpenFeatureClient:
    """A client of a provider that is ready."""
    canary.apply({"flags": FLAGS})
    openfeature.set_provider_and_wait(CanaryProvider(canary, metadata=False))
    result: OpenFeatureClient = openfeature.get_client()
    return result


def ask(client: OpenFeatureClient, kind: str, flag_key: str, default: Any, **attributes: Any) -> Told:
    """Ask for details, synchronously and asynchronously; both agree."""
    context = EvaluationContext(attributes.pop("key", None), attributes)
    details: Told = getattr(client, f"get_{kind}_details")(flag_key, default, context)
    assert asyncio.run(getattr(client, f"get_{kind}_details_async")(flag_key, default, context)) == details
    assert details.flag_key == flag_key
    return details


@pytest.mark.parametrize(("kind", "flag_key", "value", "variant"), SERVED)
def test_a_flag_is_answered(client: OpenFeatureClient, kind: str, flag_key: str, value: Any, variant: str) -> None:
    """Value, type, variant and reason, whatever the default is; a context changes nothing where none is asked for."""
    for context in ({}, {"key": "f20bd32d-703b-48b6-bc8e-79d53c85134a"}):
        details = ask(client, kind, flag_key, DEFAULTS[kind], **context)
        assert (details.value, type(details.value), details.variant) == (value, type(value), variant)
        assert (details.reason, details.error_code, details.error_message) == ("STATIC", None, None)
        assert details.flag_metadata == {}


@pytest.mark.parametrize("kind", ZEROES)
@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"email": "ballmer@macrosoft.com"}, "TARGETING_MATCH"),
        ({"email": "ballmer@none.com"}, "DEFAULT"),
        ({"email": None}, "DEFAULT"),
        ({}, "DEFAULT"),
    ],
)
def test_nothing_is_a_value_whoever_decided(
    client: OpenFeatureClient, kind: str, context: dict[str, Any], reason: str
) -> None:
    """The rule and the default serve the same, and the reason tells which of them did."""
    details = ask(client, kind, f"{kind}-targeted-zero-flag", DEFAULTS[kind] or True, **context)
    assert (details.value, details.reason, details.error_code) == (ZEROES[kind], reason, None)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (HIT, "hit", "TARGETING_MATCH"),
        ("f20bd32d-703b-48b6-bc8e-79d53c85134a", "miss", "DEFAULT"),
        (None, "miss", "DEFAULT"),
    ],
)
def test_the_targeting_key_arrives(client: OpenFeatureClient, key: str | None, value: str, reason: str) -> None:
    """A target that it names, one that it does not, and none at all."""
    details = ask(client, "string", "targeting-key-flag", "fallback", key=key)
    assert (details.value, details.reason, details.error_code) == (value, reason, None)


def test_attributes_of_every_type_arrive(client: OpenFeatureClient) -> None:
    """Text beyond ASCII, numbers and booleans; without them the default is served."""
    person = {"fn": "Sulisław", "ln": "Świętopełk", "age": 29, "customer": False}
    details = ask(client, "string", "context-aware", "mine", **person)
    assert (details.value, details.variant, details.reason) == ("INTERNAL", "internal", "TARGETING_MATCH")
    assert ask(client, "string", "context-aware", "mine").value == "EXTERNAL"


@pytest.mark.parametrize("kind", ["boolean", "string", "integer", "float"])
def test_a_disabled_flag_leaves_it_to_the_caller(client: OpenFeatureClient, kind: str) -> None:
    """It serves no value and no variant of its own, and that is no error."""
    details = ask(client, kind, f"disabled-{kind}-flag", DEFAULTS[kind])
    assert (details.value, details.variant, details.reason) == (DEFAULTS[kind], None, "DISABLED")
    assert (details.error_code, details.error_message) == (None, None)


@pytest.mark.parametrize(("asked", "flag_key"), OTHERS)
def test_another_type_is_a_mismatch(client: OpenFeatureClient, asked: str, flag_key: str) -> None:
    """The caller's default is served, and why; numbers are not cut to fit."""
    details = ask(client, asked, flag_key, DEFAULTS[asked])
    assert (details.value, details.variant) == (DEFAULTS[asked], None)
    assert (details.reason, details.error_code) == ("ERROR", ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_flag_that_is_not_there_is_not_found(client: OpenFeatureClient, kind: str) -> None:
    """The caller's default is served, and the message names the flag."""
    details = ask(client, kind, "error-flag", DEFAULTS[kind])
    assert (details.value, details.variant) == (DEFAULTS[kind], None)
    assert (details.reason, details.error_code) == ("ERROR", ErrorCode.FLAG_NOT_FOUND)
    assert "flag error-flag not found" in str(details.error_message)


def test_a_flags_own_metadata_arrives(client: OpenFeatureClient) -> None:
    """Each value with its type, and nothing else where nothing else is wanted."""
    details = ask(client, "boolean", "metadata-flag", True)
    assert details.flag_metadata == {"string": "1.0.2", "integer": 2, "float": 0.1, "boolean": True}
    types = {key: type(each).__name__ for key, each in details.flag_metadata.items()}
    assert types == {"string": "str", "integer": "int", "float": "float", "boolean": "bool"}


def test_hooks_are_told_what_the_caller_is_told(client: OpenFeatureClient) -> None:
    """Of an answer, of a flag that is not there, and of one of another type."""
    told: list[tuple[str, Any]] = []

    class Diary(Hook):
        def before(self, hook_context: Any, hints: Any) -> None:
            """Write it down."""
            told.append(("before", hook_context.flag_key))

        def after(self, hook_context: Any, details: Any, hints: Any) -> None:
            """Write it down."""
            told.append(("after", details))

        def error(self, hook_context: Any, exception: Exception, hints: Any) -> None:
            """Write it down."""
            told.append(("error", getattr(exception, "error_code", None)))

        def finally_after(self, hook_context: Any, details: Any, hints: Any) -> None:
            """Write it down."""
            told.append(("finally", details))

    client.add_hooks([Diary()])
    good = client.get_boolean_details("boolean-flag", False)
    missing = client.get_string_details("missing-flag", "uh-oh")
    wrong = client.get_integer_details("wrong-flag", 13)
    assert told == [
        *(("before", "boolean-flag"), ("after", good), ("finally", good)),
        *(("before", "missing-flag"), ("error", ErrorCode.FLAG_NOT_FOUND), ("finally", missing)),
        *(("before", "wrong-flag"), ("error", ErrorCode.TYPE_MISMATCH), ("finally", wrong)),
    ]
    assert [(each.value, each.variant) for each in (good, missing, wrong)] == [
        (True, "on"),
        ("uh-oh", None),
        (13, None),
    ]


def test_a_context_is_left_as_it_is(client: OpenFeatureClient) -> None:
    """What the caller passes is the caller's."""
    attributes: dict[str, Any] = {"email": "ballmer@macrosoft.com", "groups": ["a"]}
    context = EvaluationContext("user-1", attributes)
    client.get_boolean_details("boolean-targeted-zero-flag", True, context)
    assert (context.targeting_key, context.attributes) == ("user-1", attributes)
    assert attributes == {"email": "ballmer@macrosoft.com", "groups": ["a"]}
