"""Flask: an extension in Flask's own way, over the WSGI middleware. `is_enabled(flag_key)` is known to templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from canary_sdk.integrations.wsgi import CanaryMiddleware

if TYPE_CHECKING:
    from canary_sdk.runtime.client import Canary


class FlaskCanary:
    """Measure the requests of one Flask application or of several; `options` are those of `CanaryMiddleware`.

    The `Canary` is at `app.extensions["canary"]` then.
    """

    def __init__(self, app: Any = None, *, canary: Canary, **options: Any) -> None:
        """Begin with `app`, or with none and call `init_app`."""
        self.canary = canary
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any) -> None:
        """Wrap an application."""
        app.wsgi_app = CanaryMiddleware(app.wsgi_app, canary=self.canary, **self._options)
        app.extensions["canary"] = self.canary
        app.context_processor(lambda: {"is_enabled": self.canary.is_enabled})
