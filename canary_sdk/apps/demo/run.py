"""Puts the demo together: store, shop, server, traffic, drill, screen, report. Everything it starts, it ends.

The order of the `with` is the order of the house: what is entered last is gone first.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from canary_sdk.apps.demo.folder import Folder
from canary_sdk.apps.demo.record import record_of
from canary_sdk.apps.demo.screen import Audience, Picture, screen_for
from canary_sdk.apps.demo.shop import FLAG_KEY, Catalogue, shop
from canary_sdk.compose import connect
from canary_sdk.errors import CanaryError
from canary_sdk.evidence.record import Conclusion
from canary_sdk.evidence.report import write
from canary_sdk.integrations.asgi import CanaryMiddleware
from canary_sdk.rehearsal.engine import Drill
from canary_sdk.rehearsal.result import Plan
from canary_sdk.rehearsal.server import Serving
from canary_sdk.rehearsal.traffic import Load, Traffic
from canary_sdk.rehearsal.witness import FaultMiddleware
from canary_sdk.runtime.failures import LOGGER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from canary_sdk.apps.demo.screen import Screen
    from canary_sdk.evidence.record import Record
    from canary_sdk.rehearsal.fault import Fault

ENVIRONMENT: Final = "demo"
SLOS: Final = ("p50 < 100ms", "p95 < 250ms", "p99 < 600ms", "errors < 1.5%", "throughput > 10/s")
STAGES: Final = (5.0, 25.0)
LAST_STAGE: Final = 100.0
"""Where a healthy release goes on to."""
PATHS: Final = (
    *("POST /checkout?user={user}",) * 8,
    "GET /?user={user}",
    "GET /products/SKU-00042?user={user}",
)
CODES: Final = {Conclusion.PASSED: 0, Conclusion.FAILED: 1, Conclusion.INCONCLUSIVE: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for. Lengths in seconds; `rate` in requests a second."""

    out: Path
    port: int = 0
    fault: Fault | None = None
    seed: int = 1
    rate: float = 200.0
    baseline_s: float = 8.0
    stage_s: float = 7.0
    picture: Path | None = None


def settings() -> dict[str, Any]:
    """Return what the demo's flag is declared with: the words of a `canary.toml`."""
    return {
        "flags": {
            FLAG_KEY: {
                "description": "Enable the rewritten checkout",
                "type": "boolean",
                "default": False,
                "rollout": 0,
                "slos": list(SLOS),
            }
        },
        "auto_rollback": {
            "enabled": True,
            "interval": "1s",
            "breaches": 3,
            "min_samples": 20,
            "timeout": "30s",
            "tolerance": "10%",
        },
    }


def plan_of(options: Options) -> Plan:
    """Return what the drill is to do."""
    percents = STAGES if options.fault else (*STAGES, LAST_STAGE)
    stages = ((0.0, options.baseline_s), *((percent, options.stage_s) for percent in percents))
    return Plan(flag_key=FLAG_KEY, settings=settings(), stages=stages, fault=options.fault, restored_s=options.stage_s)


def run(options: Options, console: Console | None = None) -> int:
    """Run the demo and return the exit code: 0 when everything held.

    Raises `CanaryError` when it cannot be run. Whatever it raises, it leaves nothing running.
    """
    console = console or Console()
    with Folder(options.out) as folder:
        load = Load(paths=PATHS, rate=options.rate, seed=options.seed)
        record, screen, picture = _rehearse(options, folder, load, console)
        try:
            written = [*write(record, folder.path), *(picture.write(options.picture) if options.picture else ())]
        except OSError as error:
            raise CanaryError(f"the report cannot be written: {error}") from None
        screen.conclude(record, written)
    return CODES[record.conclusion]


def _rehearse(options: Options, folder: Folder, load: Load, console: Console) -> tuple[Record, Screen, Picture]:
    """Start everything, drill, and end everything."""
    with ExitStack() as stack:
        stack.enter_context(_logged(folder))
        canary = stack.enter_context(connect(folder.store_url, environment=ENVIRONMENT))
        canary.apply(settings(), actor="demo", reason="declared")
        catalogue = stack.enter_context(closing(Catalogue(options.seed)))
        witness = FaultMiddleware(shop(canary, catalogue), flag_key=FLAG_KEY, current_unit=canary.current_unit)
        serving = stack.enter_context(Serving(CanaryMiddleware(witness, canary=canary), options.port))
        traffic = stack.enter_context(Traffic(serving.url, load))
        screen, picture = screen_for(console, serving.url), Picture(serving.url)
        stack.enter_context(screen)
        if folder.was_interrupted:
            screen.say(f"an earlier run in {options.out} was interrupted; what it left was cleared")
        rehearsal = Drill(canary, witness, traffic, plan_of(options), Audience(screen, picture)).run()
    return record_of(rehearsal, load, ENVIRONMENT), screen, picture


@contextmanager
def _logged(folder: Folder) -> Iterator[None]:
    """Keep what the library logs in a file, so that it is not written across the screen."""
    handler = logging.FileHandler(folder.path / "demo.log", encoding="utf-8")
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
