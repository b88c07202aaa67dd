"""The cost of show and list inside a real Nova, through its whole pipeline, against Nova's own responses."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.nova.real_nova import Nova
from tests.support import real_keystone
from tests.support.wsgi_service import venv

from .measure import Finding
from .rows import fill, volume_ids

TIMEOUT = 600  # seconds; beside two busy processes it takes more than 60


def run() -> Iterator[Finding]:
    with TemporaryDirectory(prefix="os-volume-ext-bench-") as directory:
        try:
            printed = run_in_nova(Path(directory))
        except pytest.fail.Exception as error:  # by which a service that does not start fails a test
            raise RuntimeError(str(error)) from None
    yield from (Finding(**finding) for finding in json.loads(printed.splitlines()[-1]))


def run_in_nova(directory: Path) -> str:
    """Set up Keystone and Nova, and return what ``in_nova`` printed there."""
    for name in "keystone", "nova":
        Path(directory, name).mkdir()
    keystone = real_keystone.Keystone(venv("keystone"), Path(directory, "keystone"))
    nova = Nova(venv("nova"), Path(directory, "nova"))
    keystone.bootstrap()
    with keystone.serving():
        people = real_keystone.fill(keystone)
        nova.set_up(keystone)
        nova.plug_in(keystone)
        volumes = volume_ids("openstack", 10)
        project_id = people.projects["here"]
        [server] = nova.make_servers({"project": project_id, "user": people.users["member"], "volumes": volumes})
        nova.command("db", "upgrade")
        fill(nova.directory / "volumes/attachments.db", ((each, server) for each in volumes), project_id)
        arguments = people.tokens["member"], server, volumes[0]
        return nova.run("python", "-m", "benchmarks.in_nova", *arguments, timeout=TIMEOUT)
