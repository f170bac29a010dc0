"""How Sphinx builds these pages: MyST, furo, no font from elsewhere, every reference must resolve."""

from __future__ import annotations

project = "canary-rollout"
copyright = "the canary-rollout authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"  # what docstrings have between backticks
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "decisions/template.md"]
nitpicky = True
# Types are imported for type checkers only, so autodoc knows them by their bare names.
nitpick_ignore_regex = [("py:class", ".*")]

autodoc_member_order = "bysource"

myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = "canary-rollout"
html_copy_source = False
html_show_sphinx = False
