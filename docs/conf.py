"""The site: `make docs` builds it to ``docs/_build/html``, without a network, and every warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pages  # noqa: E402

import temperax  # noqa: E402

project = "temperax"
author = "The temperax developers"
copyright = author
version = release = temperax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
]
exclude_patterns = ["_build", "made"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Pages are MyST; notebooks are shown as they were executed and committed.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {"version": release}

# The reference is made of docstrings; names between single backticks become links where there is something to link to.
default_role = "autolink"
autosummary_generate = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "pydata_sphinx_theme"
html_title = "temperax"
html_static_path = ["static"]
html_css_files = ["temperax.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_sidebars = {"index": [], "coming-from": [], "decisions": []}
html_theme_options = {
    "logo": {"text": "temperax"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}


def setup(app):
    """Write the pages that are made of docstrings and of the benchmarks' results before Sphinx reads them."""
    app.connect("builder-inited", lambda app: pages.write(HERE))
