"""Claims about signed overrides: who is served what, who is not, and what is told of it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from canary_sdk import CanaryError, Reason, connect
from canary_sdk.apps.commands import canary as program
from canary_sdk.core.events import OverrideServed
from canary_sdk.core.flags.evaluation import Role
from canary_sdk.integrations import asgi, wsgi
from canary_sdk.integrations.override import MOST_TEXT, Override, Overriding, _mac, read, secret_of, sign
from tests.integrations.driver import exchange, http

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from canary_sdk import Canary
    from canary_sdk.core.events import Event
    from canary_sdk.testing import ManualClock

    Ask = Callable[..., dict[str, object]]

SECRET = "s" * 32
VARIABLE = "QA_SECRET"
BUTTON = {"type": "string", "default": "grey", "variants": {"red": {"value": "#f00"}, "blue": {"value": "#00f"}}}


class Told(list["Event"]):
    """A sink that keeps what it is told."""

    handle = list.append


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    """A secret, and two flags that are off."""
    monkeypatch.setenv(VARIABLE, SECRET)
    canary.apply({"flags": {"new-checkout": {}, "button": BUTTON}, "auto_rollback": {"interval": "1s"}})


@pytest.fixture(params=["asgi", "wsgi"])
def ask(request: pytest.FixtureRequest, canary: Canary) -> Ask:
    """Send a request with these headers through the middleware, and return what it was answered."""
    seen: dict[str, object] = {}

    def look() -> None:
        seen["checkout"] = canary.evaluate("new-checkout", "user-1")
        seen["button"] = canary.value("button", "user-1", default="")

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        look()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        look()
        start_response("200 OK", [])
        return [b""]

    def through_asgi(query: str = "", override: str | None = VARIABLE, **headers: str) -> dict[str, object]:
        listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        app = asgi.CanaryMiddleware(asgi_app, canary=canary, override=override)
        exchange(app, http(query_string=query.encode(), headers=listed))
        return seen

    def through_wsgi(query: str = "", override: str | None = VARIABLE, **headers: str) -> dict[str, object]:
        environ: dict[str, Any] = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        app = wsgi.CanaryMiddleware(wsgi_app, canary=canary, override=override)
        app({**environ, "QUERY_STRING": query, "PATH_INFO": "/"}, lambda *_: lambda _: None)
        return seen

    return through_asgi if request.param == "asgi" else through_wsgi


def signed(canary: Canary, secret: str = SECRET, environment: str = "test", lasts_s: float = 60.0, **flags: str) -> str:
    """Sign an override for these flags; without any, for both."""
    wanted = {key.replace("_", "-"): variant for key, variant in flags.items()}
    until = canary.status().at + lasts_s
    return sign(
        Override(wanted or {"new-checkout": "on", "button": "blue"}, environment, until, "ada"), secret.encode()
    )


def is_forced(seen: dict[str, object]) -> bool:
    """Whether both flags were forced; or else neither."""
    checkout: Any = seen["checkout"]
    answers = (checkout.value, checkout.reason, seen["button"])
    assert answers in {(True, Reason.OVERRIDE, "#00f"), (False, Reason.DEFAULT, "grey")}
    return answers[0] is True


def test_a_signed_request_is_served_what_it_asks_for(canary: Canary, ask: Ask) -> None:
    """By header, query or cookie; the next request without it is answered as ever."""
    text = signed(canary)
    assert is_forced(ask(canary_override=text))
    assert is_forced(ask(query=f"a=1&canary_override={text}"))
    assert is_forced(ask(cookie=f"a=1; canary_override={text}; b=2"))
    assert not is_forced(ask(cookie=f"not_canary_override={text}"))
    assert not is_forced(ask())


def test_without_a_secret_none_is_looked_at(canary: Canary, ask: Ask) -> None:
    """Unless the middleware is given the name of the secret, it is off, and nothing stands before the application."""
    assert not is_forced(ask(override=None, canary_override=signed(canary)))
    app: Any = object()
    assert asgi.CanaryMiddleware(app, canary=canary).app is app
    other: Any = app
    assert wsgi.CanaryMiddleware(other, canary=canary).app is app


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"secret": "t" * 32}, "it is not signed with this secret"),
        ({"environment": "production"}, "it is for the environment 'production'"),
        ({"lasts_s": -1.0}, "it has expired"),
        ({"new_checkout": "on", "gone": "on"}, "gone"),
        ({"new_checkout": "on", "button": "green"}, "found 'green', expected 'baseline', 'blue' or 'red'"),
    ],
)
def test_what_does_not_hold_is_ignored_and_counted(
    canary: Canary, ask: Ask, how: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Signed otherwise, for elsewhere, too late or for what is not there: none of it is served; the log says why."""
    assert not is_forced(ask(canary_override=signed(canary, **how)))
    canary.tick()
    assert sum(canary.status().failures.values()) == 1
    assert why in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("text", ["x", "x.y", ".", "ü.ü", "a" * 3_000, '{"flags":{}}', "=.="])
def test_whatever_is_sent_the_request_goes_on(canary: Canary, ask: Ask, text: str) -> None:
    """Garbage in the header, query or cookie harms nobody."""
    for each in (
        {"canary_override": text.encode().decode("latin-1")},
        {"query": f"canary_override={text}".encode().decode("latin-1")},
        {"cookie": f"canary_override={text}".encode().decode("latin-1")},
    ):
        assert not is_forced(ask(**each))


@pytest.mark.parametrize("change", [("on", "of"), ("ada", "eve"), ("test", "prod")])
def test_what_was_changed_is_not_signed(canary: Canary, change: tuple[str, str]) -> None:
    """Another variant, person or environment in the text breaks the signature."""
    body, _, mac = signed(canary).partition(".")
    told = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    assert change[0] in told
    forged = base64.urlsafe_b64encode(told.replace(*change).encode()).rstrip(b"=").decode()
    with pytest.raises(ValueError, match="not signed"):
        read(f"{forged}.{mac}", SECRET.encode(), "test")


def test_it_expires_to_the_second(canary: Canary, clock: ManualClock, ask: Ask) -> None:
    """It holds until its time, and not after."""
    text = signed(canary, lasts_s=60)
    clock.advance(60)
    assert is_forced(ask(canary_override=text))
    clock.advance(0.5)
    assert not is_forced(ask(canary_override=text))


def test_it_is_measured_apart_and_told(canary: Canary, ask: Ask) -> None:
    """It counts on neither arm, and an event says who was served what by whose leave."""
    told = Told()
    canary.subscribe(told)
    assert is_forced(ask(canary_override=signed(canary)))
    canary.tick()
    folder, arena = canary._monitor._folder, canary._arena
    counted = {role: arena.read(folder.arm("new-checkout", role, "unit")).requests for role in Role}
    assert counted == {Role.APART: 1, Role.CANDIDATE: 0, Role.BASELINE: 0}
    served = [each for each in told if isinstance(each, OverrideServed)]
    assert {(each.flag_key, each.variant, each.actor) for each in served} == {
        ("new-checkout", "on", "ada"),
        ("button", "blue", "ada"),
    }
    assert served[1].sentence == "new-checkout served 'on' to one unit of work, by an override of ada"


def test_a_kill_holds_and_a_trip_does_not(canary: Canary, ask: Ask) -> None:
    """What a person switched off stays off for everybody; what tripped may be looked at."""
    from canary_sdk.core.breaker import Breaker, State

    canary.status()
    canary._guard.decide("new-checkout", lambda _: (Breaker("new-checkout", State.OPEN, reason="slow"), ()))
    assert is_forced(ask(canary_override=signed(canary)))
    canary.kill("new-checkout", reason="it corrupts data")
    seen = ask(canary_override=signed(canary))
    checkout: Any = seen["checkout"]
    assert (checkout.value, checkout.reason, seen["button"]) == (False, Reason.TRIPPED, "#00f")


def test_what_was_answered_before_stays(canary: Canary, caplog: pytest.LogCaptureFixture) -> None:
    """One unit of work never sees two variants; outside of one nothing is forced."""
    with canary.scope("job", key="user-1"):
        assert not canary.is_enabled("new-checkout")
        canary.force({"new-checkout": True, "button": "red"})
        assert not canary.is_enabled("new-checkout")
        assert canary.value("button", default="") == "#f00"
    canary.force({"button": "red"})
    canary.tick()
    assert canary.status().failures == {"forcing variants": 1}
    assert "no unit of work is open" in caplog.text


@pytest.mark.parametrize(("secret", "found"), [(None, "nothing"), ("short", "5 characters")])
def test_a_secret_that_is_none_is_refused_at_once(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, secret: str | None, found: str
) -> None:
    """An application that was told to look at overrides does not start without a good secret."""
    monkeypatch.delenv(VARIABLE)
    if secret is not None:
        monkeypatch.setenv(VARIABLE, secret)
    with pytest.raises(CanaryError, match=f"{VARIABLE}: found {found}, expected a secret of at least 32"):
        Overriding(canary, VARIABLE)


def test_the_form_of_an_override_is_frozen() -> None:
    """What was signed by one release is read by the next, and can be made elsewhere by the description."""
    text = (
        "eyJhY3RvciI6ImEiLCJlbnZpcm9ubWVudCI6InRlc3QiLCJmbGFncyI6eyJmIjoib24ifSwidW50aWwiOjEuMH0"
        ".XZJGSiQkOz8SOFfTgfXxwmreYWcPPq39xIEwjzRbQLA"
    )
    override = Override({"f": "on"}, "test", 1.0, "a")
    assert sign(override, SECRET.encode()) == text
    assert read(text, SECRET.encode(), "test") == override


@pytest.mark.parametrize("text", ["ü.ü", "", f"{'e30' * 1_000}."])
def test_what_no_secret_can_have_signed_is_refused(text: str) -> None:
    """Other characters than ASCII, nothing, and more than an override may have, whatever its signature."""
    text += _mac(text.partition(".")[0], SECRET.encode()) if text.endswith(".") else ""
    with pytest.raises(ValueError, match="not signed"):
        read(text, SECRET.encode(), "test")


def test_an_override_is_not_endless() -> None:
    """What would not fit is refused when it is signed."""
    with pytest.raises(CanaryError, match=f"expected at most {MOST_TEXT}: name fewer flags"):
        sign(Override({f"flag-{number}": "on" for number in range(200)}, "test", 1.0), SECRET.encode())


# --- the command ---


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with the flags, which is the one that the command line means."""
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("CANARY_URL", url)
    monkeypatch.setenv("CANARY_ENVIRONMENT", "staging")
    with connect(url, background=False) as canary:
        canary.apply({"flags": {"new-checkout": {}, "button": BUTTON}})
    return url


def test_the_command_signs_what_the_middleware_takes(url: str) -> None:
    """What it prints is served, in the environment and by the person that it was signed for, for as long as it says."""
    asked = ["override", "new-checkout=on", "button=blue", "--secret", VARIABLE, "--actor", "ada", "--for", "30m"]
    result = CliRunner().invoke(program, asked)
    assert result.exit_code == 0, result.output
    override = read(result.stdout.strip(), secret_of(VARIABLE), "staging")
    assert override[:2] == ({"new-checkout": "on", "button": "blue"}, "staging")
    assert override.actor == "ada"
    assert "holds in staging until" in result.stderr
    told = json.loads(CliRunner().invoke(program, [*asked, "--json"]).stdout)
    assert read(told["override"], secret_of(VARIABLE), "staging").until == told["until"]
    assert 0 <= told["until"] - override.until < 60


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["new-chekout=on"], 1, "there is no flag 'new-chekout'"),
        (["button=green"], 1, "found 'green', expected 'baseline', 'blue' or 'red'"),
        (["button"], 2, "expected FLAG=VARIANT"),
        (["button=red", "--for", "soon"], 2, "expected a duration"),
        (["button=red", "--for", "200h"], 2, "expected at most 168h"),
        (["button=red", "--secret", "NO_SUCH"], 1, "NO_SUCH: found nothing"),
    ],
)
def test_the_command_signs_nothing_that_cannot_be(url: str, arguments: list[str], code: int, complaint: str) -> None:
    """A flag, variant, duration or secret that is not there is named; nothing is printed that could be sent."""
    result = CliRunner().invoke(program, ["override", "--secret", VARIABLE, *arguments])
    assert (result.exit_code, result.stdout) == (code, "")
    assert complaint in result.stderr
