"""Sphinx's settings for the documentation site; `make docs` builds it. Sources: brainram_lib/setup/site/sources.py."""

import logging

# Sphinx shows what libraries report while autodoc imports them; what faiss found on this machine is no matter here.
logging.getLogger("faiss").setLevel(logging.WARNING)

project = "BrainRAM workbench"
author = "BrainRAM workbench contributors"
root_doc = "index"
highlight_language = "none"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "brainram_lib.setup.site.extension"]

# Pages are the repository's own Markdown, as GitHub shows it too.
myst_enable_extensions = ["dollarmath", "colon_fence", "html_image"]
myst_heading_anchors = 4

# Notebooks are shown as they were executed, never executed here; no widget is fetched from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "no-value": True}
napoleon_use_ivar = True
napoleon_attr_annotations = False
add_module_names = False
maximum_signature_line_length = 96
# A class's name may stand in several packages; which one a signature means is clear where it stands.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "BrainRAM workbench"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
