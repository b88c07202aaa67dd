"""How Sphinx makes the pages: ``make docs``."""

from importlib import metadata

project = "os-volume-ext"
author = "The os-volume-ext authors"
copyright = author
release = metadata.version(project)
smartquotes = False
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["options.css"]
html_title = f"{project} {release}"
