"""People are told of what happened, once, by whom it concerns, and nobody who serves requests ever waits for it."""

from __future__ import annotations

import base64
import hmac
import json
import random
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("aiosmtpd")

import trustme

from canary_sdk import CanaryError
from canary_sdk.core import events
from canary_sdk.core.config.channels import Channel, read_channel
from canary_sdk.core.events import Severity
from canary_sdk.core.judge.slo import parse_slo
from canary_sdk.core.judge.tally import EMPTY
from canary_sdk.core.judge.verdict import Arms, judge
from canary_sdk.telemetry.notify import Notifier, delivery, message, outbox
from canary_sdk.telemetry.notify.channels import sender
from canary_sdk.telemetry.notify.delivery import Undelivered
from canary_sdk.telemetry.notify.message import Message, message_of
from canary_sdk.telemetry.notify.outbox import Outbox
from tests.forks import exit_code, forked
from tests.telemetry.receiving import HttpEnd, MailEnd, http_end, mail_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk.core.events import Event
    from canary_sdk.telemetry.notify.channels import Send
    from canary_sdk.testing import ManualClock

AT = 1_764_000_000.25
SECRET = "correct-horse-battery"
ENVIRON = {"SECRET": SECRET, "USER": "robot", "PASSWORD": SECRET}
VERDICT = judge([parse_slo("errors < 1%")], Arms(EMPTY), total=EMPTY, share=0.5, tolerance=0.1, min_samples=50)
TRIPPED = events.FlagTripped(flag_key="search", at=AT, reason="errors 9 % against a limit of 1 %", verdict=VERDICT)
RECOVERED = events.ServiceRecovered(flag_key="search", at=AT, after_s=4.0, verdict=VERDICT)
STAGE = events.StageStarted(flag_key="search", at=AT, stage=2, stages=4, percent=25.0)
LOST = events.StoreLost(at=AT, reason="no route")


def channel_of(name: str, **fields: Any) -> Channel:
    """Return a channel as it is configured."""
    return read_channel(name, fields).channel


def sends(name: str, **fields: Any) -> Send:
    """Return what sends to such a channel, with the secrets of a test."""
    return sender(channel_of(name, **fields), {**ENVIRON, "URL": fields.pop("at", "")})


def told(event: Event, message_id: str = "m1") -> Message:
    """Return what is told of an event."""
    found = message_of(event, message_id, "production", "host-7")
    assert found
    return found


@pytest.fixture
def end() -> Iterator[HttpEnd]:
    """Somebody who listens over HTTP."""
    with http_end() as each:
        yield each


def bodies(end: HttpEnd) -> list[Any]:
    """Return everything received, as JSON."""
    return [json.loads(each.body) for each in end.received]


class TestMessages:
    """What is told of which event, and how it is grouped."""

    @pytest.mark.parametrize(
        "event",
        [
            events.VerdictReached(flag_key="search", at=AT, verdict=VERDICT, breaches=0),
            events.FlagsChanged(at=AT, version=3, flag_keys=("search",)),
            events.ProcessForked(at=AT, parent=7),
        ],
    )
    def test_what_is_no_transition_is_not_told(self, event: Event) -> None:
        """A verdict every half minute is noise."""
        assert message_of(event, "m1", "production", "host-7") is None

    def test_every_event_has_been_thought_of(self) -> None:
        """A new kind of event is told, unless it is one of the few that are not."""
        kinds = {each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)}
        quiet = {events.Event, events.FlagEvent, events.VerdictReached, events.FlagsChanged, events.ProcessForked}
        quiet |= {events.OverrideServed}
        assert kinds - quiet == message._TOLD

    def test_an_incident_ends_by_the_name_by_which_it_began(self) -> None:
        """In every process and on every host alike."""
        assert told(TRIPPED).opens == "canary/production/search/rollback"
        assert told(TRIPPED).opens in told(RECOVERED).closes

    def test_what_ends_a_critical_incident_reaches_those_who_were_told_of_it(self) -> None:
        """Though it is good news; but a stage that begins wakes nobody, whatever was held before it."""
        assert told(RECOVERED).severity is Severity.INFO
        assert told(RECOVERED).level is Severity.CRITICAL
        assert told(STAGE).level is Severity.INFO

    def test_a_title_is_one_line(self) -> None:
        """A reason that somebody wrote must not become a header of its own, nor a page."""
        event = events.FlagKilled(flag_key="search", at=AT, reason="bad\r\nBcc: everybody@example.com " + "x" * 300)
        assert "\n" not in told(event).title
        assert len(told(event).title) == 200


class TestSlack:
    """An incoming webhook."""

    def test_it_says_what_happened_and_what_was_measured(self, end: HttpEnd) -> None:
        """With a text for notifications and blocks for the channel."""
        sender(channel_of("slack", url_env="URL"), {"URL": f"{end.url}/services/T0/B0/x"})(told(TRIPPED), AT)
        (body,) = bodies(end)
        assert end.received[0].path == "/services/T0/B0/x"
        assert body["text"] == "[production] search was switched off: errors 9 % against a limit of 1 %"
        assert "errors is INCONCLUSIVE" in body["blocks"][1]["text"]["text"]
        assert "host-7 · 2025-11-24T16:00:00.250Z" in body["blocks"][2]["elements"][0]["text"]

    def test_nothing_in_a_reason_is_a_mention(self, end: HttpEnd) -> None:
        """Whoever can write a reason must not be able to call everybody."""
        event = events.FlagKilled(flag_key="search", at=AT, reason="<!channel> & co")
        sender(channel_of("slack", url_env="URL"), {"URL": end.url})(told(event), AT)
        assert "&lt;!channel&gt; &amp; co" in bodies(end)[0]["text"]
        assert "<!" not in end.received[0].body.decode()


class TestPagerDuty:
    """Alerts that open and close, and change events for what was planned."""

    def send(self, end: HttpEnd, event: Event) -> list[Any]:
        """Send it, and return what was received for it."""
        before = len(end.received)
        sender(channel_of("pagerduty", routing_key_env="SECRET", url=end.url), ENVIRON)(told(event), AT)
        return [(each.path, json.loads(each.body)) for each in end.received[before:]]

    def test_a_trip_opens_what_the_recovery_closes(self, end: HttpEnd) -> None:
        """One key an incident, so that nobody is paged twice and nothing stays open that is over."""
        ((path, alert),) = self.send(end, TRIPPED)
        assert (path, alert["event_action"], alert["routing_key"]) == ("/v2/enqueue", "trigger", SECRET)
        assert alert["payload"]["severity"] == "critical"
        assert alert["payload"]["summary"].startswith("[production] search was switched off")
        assert alert["payload"]["timestamp"] == "2025-11-24T16:00:00.250Z"
        closed = {each["dedup_key"] for _, each in self.send(end, RECOVERED) if each["event_action"] == "resolve"}
        assert alert["dedup_key"] in closed

    def test_a_stage_is_a_change_and_no_alert(self, end: HttpEnd) -> None:
        """It belongs on the time line beside an incident; and a hold is over by it."""
        *resolved, (path, change) = self.send(end, STAGE)
        assert path == "/v2/change/enqueue"
        assert change["payload"]["summary"].startswith("[production] search is served to 25 % now")
        assert [each["event_action"] for _, each in resolved] == ["resolve"]

    def test_a_long_name_is_shortened_and_stays_its_own(self, end: HttpEnd) -> None:
        """PagerDuty takes 255 characters."""
        keys = [
            self.send(end, events.FlagTripped(flag_key="f" * 300 + last, at=AT, reason="r"))[0][1]["dedup_key"]
            for last in "ab"
        ]
        assert [len(each) for each in keys] == [255, 255]
        assert keys[0] != keys[1]


class TestWebhook:
    """JSON with a signature that the receiver can check with what it has."""

    @pytest.mark.parametrize("secret", [SECRET, f"whsec_{base64.b64encode(SECRET.encode()).decode()}"])
    def test_it_is_signed_as_standard_webhooks_are(self, end: HttpEnd, secret: str) -> None:
        """Over id, time and body, so that neither can be exchanged nor sent again later."""
        sender(channel_of("webhook", url=end.url, secret_env="S"), {"S": secret})(told(TRIPPED), AT)
        (received,) = end.received
        at, name = received.headers["webhook-timestamp"], received.headers["webhook-id"]
        signed = hmac.digest(SECRET.encode(), b".".join([name.encode(), at.encode(), received.body]), "sha256")
        assert (name, at) == ("m1", "1764000000")
        assert received.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
        assert bodies(end)[0]["opens"] == "canary/production/search/rollback"

    def test_a_secret_that_is_no_base64_is_refused_and_not_shown(self) -> None:
        """When the channel is opened, not when something has happened."""
        with pytest.raises(CanaryError, match="no base64") as caught:
            sender(channel_of("webhook", url="https://x", secret_env="S"), {"S": f"whsec_{SECRET}!"})
        assert SECRET not in str(caught.value)


class TestMail:
    """Over a real server of mail."""

    def send(self, end: MailEnd, **fields: Any) -> None:
        """Send a letter about a trip."""
        settings = {"from": "canary@example.com", "to": ["sre@example.com"], "server": end.server, "tls": "none"}
        sender(channel_of("email", **settings | fields), ENVIRON)(told(TRIPPED), AT)

    def test_a_letter_arrives(self) -> None:
        """As a person wants to read it, and as a machine that answers letters can tell it from a person's."""
        with mail_end() as end:
            self.send(end, to=["sre@example.com", "lead@example.com"])
        (letter,) = end.letters
        assert letter["Subject"] == "[production] search was switched off: errors 9 % against a limit of 1 %"
        assert letter["To"] == "sre@example.com, lead@example.com"
        assert letter["Message-ID"] == "<m1@canary-rollout>"
        assert letter["Auto-Submitted"] == "auto-generated"
        assert "errors is INCONCLUSIVE" in letter.get_content()

    def test_starttls_and_a_login(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Over a connection whose certificate is checked."""
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with mail_end(context, ("robot", SECRET)) as end:
            with pytest.raises(Undelivered, match="certificate verify failed"):
                self.send(end, tls="starttls", user_env="USER", password_env="PASSWORD")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            self.send(end, tls="starttls", user_env="USER", password_env="PASSWORD")
            with pytest.raises(Undelivered, match="535") as caught:
                self.send(end, tls="starttls", user_env="USER", password_env="USER")
        assert end.tls == [True]
        assert caught.value.is_final

    @pytest.mark.parametrize(("refusal", "is_final"), [("451 try later", False), ("552 too much", True)])
    def test_a_refusal_is_final_if_the_server_says_so(self, refusal: str, is_final: bool) -> None:
        """What begins with 4 may be tried again."""
        with mail_end() as end:
            end.refusal = refusal
            with pytest.raises(Undelivered, match=refusal[:3]) as caught:
                self.send(end)
        assert caught.value.is_final is is_final

    def test_one_wrong_address_keeps_no_letter_from_the_others(self) -> None:
        """It is said, and not sent to the others again."""
        with mail_end() as end, pytest.raises(Undelivered, match="1 of the recipients") as caught:
            self.send(end, to=["nobody@example.com", "sre@example.com"])
        assert [each["To"] for each in end.letters] == ["nobody@example.com, sre@example.com"]
        assert caught.value.is_final

    def test_no_server(self) -> None:
        """Is tried again."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            end = MailEnd()
            end.server = f"127.0.0.1:{bound.getsockname()[1]}"
            with pytest.raises(Undelivered, match="refused") as caught:
                self.send(end)
        assert not caught.value.is_final


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_apprise_reaches_what_it_knows(end: HttpEnd) -> None:
    """Any of its services; one that it does not know is refused before there is something to tell."""
    pytest.importorskip("apprise")
    url = end.url.replace("http://", "json://")
    sender(channel_of("apprise", url_env="URL"), {"URL": url})(told(TRIPPED), AT)
    assert bodies(end)[0]["title"] == "[production] search was switched off: errors 9 % against a limit of 1 %"
    end.answers.append((500, {}))
    with pytest.raises(Undelivered):
        sender(channel_of("apprise", url_env="URL"), {"URL": url})(told(TRIPPED), AT)
    with pytest.raises(CanaryError, match="does not know the service") as caught:
        sender(channel_of("apprise", url_env="URL"), {"URL": f"nothing://{SECRET}"})
    assert SECRET not in str(caught.value)


class TestAnswers:
    """What is made of what the other end answers, or does not."""

    def failed(self, url: str) -> Undelivered:
        """Post there, and return how it failed."""
        with pytest.raises(Undelivered) as caught:
            delivery.post(url, b"{}", {}, AT)
        return caught.value

    @pytest.mark.parametrize(
        ("status", "is_final"), [(302, True), (400, True), (404, True), (408, False), (429, False), (503, False)]
    )
    def test_a_status_is_final_or_not(self, end: HttpEnd, status: int, is_final: bool) -> None:
        """A redirect is not followed: the secret in a path is not another host's business."""
        end.answers.append((status, {"Location": f"{end.url}/elsewhere"}))
        error = self.failed(f"{end.url}/{SECRET}")
        assert (error.is_final, str(error)) == (is_final, f"it answered {status}")
        assert [each.path for each in end.received] == [f"/{SECRET}"]

    @pytest.mark.parametrize(
        ("asked", "wait_s"),
        [
            ("30", 30.0),
            ("Mon, 24 Nov 2025 16:00:40 GMT", 39.75),
            ("Mon, 24 Nov 2025 15:00:00 GMT", 0.0),
            ("86400", 300.0),
            ("soon", 0.0),
            ("", 0.0),
        ],
    )
    def test_retry_after_is_read_in_both_its_forms(self, end: HttpEnd, asked: str, wait_s: float) -> None:
        """And neither a day nor nonsense is taken seriously."""
        end.answers.append((429, {"Retry-After": asked}))
        assert self.failed(end.url).wait_s == wait_s

    def test_no_answer_is_tried_again(self, end: HttpEnd, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether it hangs up, or hangs."""
        end.is_silent = True
        assert not self.failed(end.url).is_final
        monkeypatch.setattr(delivery, "TIMEOUT_S", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            error = self.failed(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert (error.is_final, str(error)) == (False, "it did not answer in time")

    @pytest.mark.parametrize("url", [f"file:///{SECRET}", SECRET, f"http://[{SECRET}", f"http://x:{SECRET}/"])
    def test_what_is_no_url_is_not_shown(self, url: str) -> None:
        """It stands where a secret stands."""
        error = self.failed(url)
        assert SECRET not in f"{error}{error!r}{error.__cause__}"
        assert error.__suppress_context__ or error.__context__ is None


class Wall:
    """A channel that does as it is told: raises what it is given, and remembers what it took."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.errors: list[Exception] = []

    def __call__(self, message: Message, _: float) -> None:
        """Take it or not."""
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(message.id)


class TestOutbox:
    """What waits is bounded, paced, tried again, and given up in the end."""

    @pytest.fixture
    def wall(self) -> Wall:
        """Where it goes."""
        return Wall()

    @pytest.fixture
    def notes(self) -> list[Any]:
        """What failed."""
        return []

    @pytest.fixture
    def box(self, wall: Wall, notes: list[Any], clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Outbox:
        """An outbox whose thread never runs: the test takes its steps."""
        box = Outbox("slack", wall, clock, random.Random(1), notes.append)
        monkeypatch.setattr(box._worker, "wake", lambda: None)
        return box

    def test_messages_keep_their_order_and_their_distance(self, box: Outbox, wall: Wall, clock: ManualClock) -> None:
        """One a second is what Slack takes."""
        for name in "abc":
            box.put(told(TRIPPED, name))
        assert box.step() == outbox.PACE_S
        assert box.step() == pytest.approx(outbox.PACE_S)
        assert wall.taken == ["a"]
        clock.advance(1.0)
        assert box.step() == outbox.PACE_S
        clock.advance(1.0)
        assert box.step() is None
        assert wall.taken == ["a", "b", "c"]

    def test_it_waits_as_long_as_it_was_asked_to(self, box: Outbox, wall: Wall, clock: ManualClock) -> None:
        """And longer each time where nobody said."""
        wall.errors = [Undelivered("429", is_final=False, wait_s=120.0)]
        box.put(told(TRIPPED))
        assert box.step() == 120.0
        clock.advance(119.9)
        assert box.step() == pytest.approx(0.1)
        clock.advance(0.2)
        assert box.step() is None
        assert wall.taken == ["m1"]

    def test_it_tries_again_ever_more_rarely_and_then_gives_up(
        self, box: Outbox, wall: Wall, notes: list[Any], clock: ManualClock
    ) -> None:
        """By chance within half and whole of 1, 2, 4 … 60 s; after a quarter of an hour the news is old."""
        wall.errors = [Undelivered("503", is_final=False)] * 100
        box.put(told(TRIPPED))
        waits = []
        while (wait_s := box.step()) is not None:
            waits.append(wait_s)
            clock.advance(wait_s)
        limits = [min(2.0**n, 60.0) for n in range(len(waits))]
        assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))
        assert outbox.GIVE_UP_S <= sum(waits) < outbox.GIVE_UP_S + 60.0
        assert notes == [("telling slack", "503", "FlagTripped was not told there")]

    @pytest.mark.parametrize(
        ("error", "why"),
        [(Undelivered("it answered 404", is_final=True), "it answered 404"), (KeyError(SECRET), "KeyError")],
    )
    def test_what_cannot_be_told_keeps_nothing_from_being_told(
        self, box: Outbox, wall: Wall, notes: list[Any], clock: ManualClock, error: Exception, why: str
    ) -> None:
        """Neither a refusal nor a defect."""
        wall.errors = [error]
        box.put(told(TRIPPED, "a"))
        box.put(told(TRIPPED, "b"))
        box.step()
        clock.advance(1.0)
        box.step()
        assert wall.taken == ["b"]
        assert [note[1] for note in notes] == [why]

    def test_of_too_many_the_least_severe_give_way(self, box: Outbox, wall: Wall, notes: list[Any]) -> None:
        """The oldest of them; and what is less severe than all that waits is not taken at all."""
        box.put(told(STAGE, "stage"))
        for number in range(outbox.MOST_WAITING):
            box.put(told(TRIPPED, str(number)))
        box.put(told(STAGE, "late"))
        assert [message.id for message, _ in box._waiting] == [str(each) for each in range(outbox.MOST_WAITING)]
        assert len(notes) == 2

    def test_a_forked_child_sends_nothing_of_its_parents(self, box: Outbox, wall: Wall) -> None:
        """Or people would be told once for each worker."""
        box.put(told(TRIPPED, "parent"))

        def act() -> None:
            box.put(told(TRIPPED, "child"))
            box.step()
            assert wall.taken == ["child"]

        assert exit_code(forked(act)) == 0

    def test_at_the_end_nothing_is_paced(self, wall: Wall, notes: list[Any], clock: ManualClock) -> None:
        """On its own thread: what waits is sent, and the thread is gone."""
        box = Outbox("slack", wall, clock, random.Random(1), notes.append)
        for name in "abc":
            box.put(told(TRIPPED, name))
        assert box.drain(10.0)
        assert wall.taken == ["a", "b", "c"]


class TestNotifier:
    """Who is told what."""

    def notifier(self, clock: ManualClock, notes: list[Any], *, leads: bool | None = True) -> Notifier:
        """Return one for production whose secrets are those of a test."""
        environ = {**ENVIRON, "URL": self.url}
        asked = None if leads is None else lambda: leads
        return Notifier("production", notes.append, asked, clock=clock, environ=environ)

    @pytest.fixture(autouse=True)
    def _end(self, end: HttpEnd) -> None:
        self.end = end
        self.url = f"{end.url}/slack"

    def events(self) -> list[str]:
        """Return where something was received."""
        return sorted(each.path for each in self.end.received)

    def test_each_channel_is_told_of_what_reaches_its_level(self, clock: ManualClock) -> None:
        """And of nothing in another environment."""
        notes: list[Any] = []
        notifier = self.notifier(clock, notes)
        webhook = {"kind": "webhook", "secret_env": "SECRET"}
        notifier.configure(
            [
                channel_of("slack", url_env="URL"),
                channel_of("night", **webhook, url=f"{self.end.url}/night", level="critical"),
                channel_of("tests", **webhook, url=f"{self.end.url}/tests", only_in=["staging"]),
            ]
        )
        notifier.handle(STAGE)
        notifier.handle(TRIPPED)
        notifier.handle(RECOVERED)
        notifier.drain(10.0)
        assert self.events() == ["/night"] * 2 + ["/slack"] * 3
        assert notes == []

    @pytest.mark.parametrize(("leads", "paths"), [(True, ["/slack"]), (False, []), (None, [])])
    def test_one_process_of_a_host_says_that_the_store_is_away(
        self, clock: ManualClock, leads: bool | None, paths: list[str]
    ) -> None:
        """Every worker notices, and a command of an operator has other ways to say so."""
        notifier = self.notifier(clock, [], leads=leads)
        notifier.configure([channel_of("slack", url_env="URL")])
        notifier.handle(LOST)
        notifier.drain(10.0)
        assert self.events() == paths

    @pytest.mark.parametrize("leads", [True, None])
    def test_a_secret_that_is_missing_is_named(self, clock: ManualClock, leads: bool | None) -> None:
        """By a service as soon as it is configured, by a command only if it has something to tell."""
        notes: list[Any] = []
        notifier = self.notifier(clock, notes, leads=leads)
        notifier.configure([channel_of("slack", url_env="NOT_SET")])
        assert len(notes) == (1 if leads else 0)
        notifier.handle(TRIPPED)
        assert notes[-1][1] == "channel slack needs the environment variable NOT_SET, which is not set here"

    def test_what_waits_survives_a_change_of_the_configuration(self, clock: ManualClock) -> None:
        """Of other channels; one that is gone is told nothing more."""
        notifier = self.notifier(clock, [])
        slack = channel_of("slack", url_env="URL")
        notifier.configure([slack])
        self.end.answers.extend([(503, {})])
        notifier.handle(TRIPPED)
        notifier.configure([slack, channel_of("night", kind="slack", url_env="URL")])
        notifier.drain(10.0)
        notifier.drain(10.0)
        assert len(self.end.received) >= 1
        notifier.configure([])
        before = len(self.end.received)
        notifier.handle(TRIPPED)
        notifier.drain(10.0)
        assert len(self.end.received) == before
