"""The decorator: which function serves a call, and how the call counts."""
