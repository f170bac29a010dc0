"""How processes begin and end where Python's own hooks are not run; asked of what is loaded, nothing is imported.

uWSGI forks its workers in C, unless it is told `py-call-uwsgi-fork-hooks`. A child of such a fork goes on with its
parent's connections and believes in a thread that it does not have; so what Python does in a forked child is done from
uWSGI's hook. What Python does before a fork cannot be done from there.

The children of `multiprocessing` and of Celery's pool end without `atexit`: they have exit functions of their own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_sdk.runtime.failures import Failure

HEARD: Final = {"py-call-uwsgi-fork-hooks", "py-call-osafterfork", "lazy-apps", "lazy"}
"""uWSGI's options with which workers hear of their fork, or are forked before the application is loaded."""


def hear_of_forks() -> Failure | None:
    """Let uWSGI's workers hear of their fork; return what to say where that had to be arranged. Idempotent."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or uwsgi.worker_id() or HEARD & uwsgi.opt.keys():
        return None
    chain = _after_uwsgi_forks()
    if _heal not in chain:
        chain.append(_heal)
    return (
        "starting in uWSGI's master",
        "it will fork its workers without telling Python",
        "Set py-call-uwsgi-fork-hooks = true: an SQLite store that is open before the fork may lose changes after it",
    )


def hear_of_the_end(close: Callable[..., None]) -> None:
    """Let `close` be called at the end of this process, if it is a child of a pool. Idempotent calls are expected."""
    for name in ("multiprocessing.util", "billiard.util"):
        if util := sys.modules.get(name):
            util.Finalize(None, close, exitpriority=0)
    if signals := sys.modules.get("celery.signals"):
        signals.worker_process_shutdown.connect(close, weak=False)


def _after_uwsgi_forks() -> list[Any]:
    """Return what uWSGI calls after a fork: the list that its decorators keep, and that other libraries use too."""
    from uwsgidecorators import postfork_chain  # type: ignore[import-untyped,import-not-found,unused-ignore]

    chain: list[Any] = postfork_chain
    return chain


def _heal() -> None:
    import ctypes

    ctypes.pythonapi.PyOS_AfterFork_Child()
