"""Where the project's files are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PASTE = ROOT / "etc" / "api-paste.ini"
"""The sample's paste file."""
TEMPLATES = ROOT / "os_volume_ext" / "cli" / "templates"  # of plugins, which the pages of docs/ show too
