"""What a test needs without importing it, because it runs a process of its own or asks for it by name."""

from __future__ import annotations

from importlib import import_module


def need(*modules: str) -> None:
    """Import these: where one is not installed, `tests/conftest.py` passes over the test, or over all of the module."""
    for module in modules:
        import_module(module)
