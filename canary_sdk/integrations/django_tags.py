"""Django's template tag: `{% flag "new-checkout" as is_new %}`, answered by the `Canary` in the setting CANARY.

It is known to templates by TEMPLATES[…]["OPTIONS"]["libraries"] = {"canary": "canary_sdk.integrations.django_tags"} and
`{% load canary %}`.
"""

from __future__ import annotations

from django import template
from django.conf import settings

register = template.Library()


def flag(flag_key: str, targeting_key: str | None = None) -> bool:
    """Return whether a flag is on, for whom the middleware's `key` names unless a key is given. Never raises."""
    return bool(settings.CANARY.is_enabled(flag_key, targeting_key))


register.simple_tag(flag)
