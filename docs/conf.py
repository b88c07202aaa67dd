"""Configure Sphinx, which ``make docs`` runs."""

import logging
import sys
from importlib import metadata
from pathlib import Path

from docutils import nodes

project = "os-volume-ext"
author = "The os-volume-ext authors"
copyright = author
release = metadata.version(project)
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
extensions = ["sphinx.ext.autodoc", "cliff.sphinxext", "contract_tables", "declared_options", "openapi_tables"]
smartquotes = False
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["options.css", "diagrams.css", "api.css", "narrow.css"]
html_title = f"{project} {release}"

# Options of every command that prints a table.
autoprogram_cliff_ignored = [
    *("--help", "--noindent", "--prefix", "--max-width", "--fit-width", "--print-empty", "--quote"),
    *("--sort-column", "--sort-ascending", "--sort-descending"),
]

autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
# Signatures name types of other projects and of internal modules, which have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!os_volume_ext\.(filter|backends\.base|catalog\.base|testing(?!\.[a-z]))\b).*")]

# accessible-pygments, which furo needs, makes the root logger print messages of level INFO.
for name in ("alembic", "reno"):
    logging.getLogger(name).setLevel(logging.WARNING)

# reno reads the release notes from the history of the Git repository, which a source distribution does not have.
if (Path(__file__).parents[1] / ".git").exists():
    extensions.append("reno.sphinxext")
else:
    exclude_patterns = ["release-notes.rst"]
    suppress_warnings = ["toc.excluded"]


def name_untagged_version(app, document):
    """Replace the title that reno gives to the notes as long as the repository has no tag of a version."""
    for title in document.findall(nodes.title):
        if title.astext() == "0.0.0":
            title.children = [nodes.Text(f"{release}, not released yet")]


def setup(app):
    """Connect to Sphinx."""
    app.connect("doctree-read", name_untagged_version, priority=100)  # before the title gets into the contents
