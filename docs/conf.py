"""How Sphinx builds these pages: MyST, furo, no font from elsewhere, every reference must resolve."""

from __future__ import annotations

project = "canary-rollout"
copyright = "the canary-rollout authors"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "decisions/template.md"]
nitpicky = True

myst_heading_anchors = 3

html_theme = "furo"
html_title = "canary-rollout"
html_copy_source = False
html_show_sphinx = False
