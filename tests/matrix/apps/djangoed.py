"""Django's development server around the plain application: `python djangoed.py runserver ADDRESS` reloads itself."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from plain import application  # type: ignore[import-not-found]  # it lies beside this script

__all__ = ["application"]

if __name__ == "__main__":
    settings.configure(DEBUG=True, ALLOWED_HOSTS=["*"], WSGI_APPLICATION="djangoed.application", INSTALLED_APPS=[])
    execute_from_command_line(sys.argv)
