"""How the documentation becomes a site: `sphinx-build -W docs out/site` (extra `docs`)."""

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

from orchestrator import __version__

project = "orchestrator"
author = "the batch-trigger-orchestrator authors"
version = release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples/**", "pictures/**", "schemas/**"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"orchestrator {release}"
html_copy_source = False
html_show_sphinx = False
nitpicky = True
lexers["csv"] = TextLexer()  # Pygments knows no such language
