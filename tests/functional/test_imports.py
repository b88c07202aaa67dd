"""What a filter and a command import: nothing that takes long and that they do not use."""

import json
import subprocess
import sys

import pytest

from tests.support.waiting import TIMEOUT

FILTER = """if True:
    import json, sys
    from os_volume_ext.filter import make_filter
    options = {"database.url": f"sqlite:///{sys.argv[1]}/registry.db", "backend.root": sys.argv[1]}
    make_filter(lambda environ, start_response: [], backend="directory", **options)
    print(json.dumps(sorted(sys.modules)))
"""
COMMAND = """if True:
    import json, sys
    from os_volume_ext.cli.main import main
    main(["volume", "list", "--paste", f"{sys.argv[1]}/api-paste.ini", "-f", "json"])
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
PASTE = """[filter:volumes]
use = egg:os-volume-ext
database.url = sqlite:///%(here)s/registry.db
backend = directory
backend.root = %(here)s
"""


@pytest.fixture
def run(tmp_path):
    """Give ``run(program)``: what it writes to standard output and standard error."""

    def run(program):
        arguments = [sys.executable, "-c", program, str(tmp_path)]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, check=True)
        return ended.stdout, ended.stderr

    return run


def test_only_a_filter_whose_database_is_not_current_imports_alembic(run):
    first, second = (set(json.loads(run(FILTER)[0])) for _ in range(2))
    assert "alembic" in first
    assert "alembic" not in second
    assert not {"os_volume_ext.outbound.client", "sqlalchemy.dialects.postgresql"} & second


def test_a_command_about_the_catalog_imports_neither_the_api_nor_the_policy(run, tmp_path):
    run(FILTER)
    (tmp_path / "api-paste.ini").write_text(PASTE)
    printed, modules = run(COMMAND)
    assert json.loads(printed) == []
    unused = {"alembic", "oslo_policy", "requests", "webob", "rich", "lxml"}
    unused |= {"os_volume_ext.assembly", "sqlalchemy.dialects.postgresql"}
    assert not unused & set(json.loads(modules))
