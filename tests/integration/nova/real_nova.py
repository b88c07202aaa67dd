"""A real Nova API with the extension in it, set up as ``docs/nova`` describes; the services around Nova are empty."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.real_keystone import PASSWORD, Keystone
from tests.support.wsgi_service import WSGIService

DIFF = ROOT / "docs" / "nova" / "api-paste.diff"
MAKE_SERVERS = Path(__file__).parent / "make_servers.py"
PLAIN, OURS = "nova-api-paste.ini", "api-paste.ini"  # in Nova's directory: the file as it came, and with the filter

# The paths of databases are relative to the directory, so that it can be copied.
CONF = """
[DEFAULT]
transport_url = fake://
concurrency_backend = threading
use_stderr = true
state_path = .
[api_database]
connection = sqlite:///api.db
[database]
connection = sqlite:///cell1.db
"""
CREDENTIALS = f"""
[{{section}}]
auth_url = {{keystone}}
auth_type = password
username = volumes
password = {PASSWORD}
project_name = service
user_domain_id = default
project_domain_id = default
"""
SECTIONS = ("keystone_authtoken", "keystone", "neutron", "placement")  # where Nova needs credentials


@dataclass
class Nova(WSGIService):
    """A Nova API with a paste file of its directory."""

    module: str = "nova.wsgi.osapi_compute"
    paste: str = OURS

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OS_NOVA_CONFIG_DIR": str(self.directory),
            "OS_NOVA_CONFIG_FILES": f"{self.paste};nova.conf",
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
            "PYTHONPATH": str(ROOT),  # the checkout and its metadata, as if installed: all that it needs Nova has
        }

    def set_up(self, keystone: Keystone) -> None:
        """Make Nova's databases and its configuration, in an empty directory."""
        credentials = (CREDENTIALS.format(section=section, keystone=keystone.url) for section in SECTIONS)
        (self.directory / "nova.conf").write_text("".join([CONF, *credentials]))
        shutil.copy(self.venv / "etc/nova/api-paste.ini", self.directory / PLAIN)
        (self.directory / "policy.yaml").write_text("{}\n")
        for command in (
            ("api_db", "sync"),
            ("cell_v2", "map_cell0", "--database_connection", "sqlite:///cell0.db"),
            ("db", "sync"),
            ("cell_v2", "create_cell", "--name", "cell1"),
        ):
            self.run("nova-manage", "--config-file", "nova.conf", *command)

    def plug_in(self, keystone: Keystone) -> None:
        """Put the filter into Nova's paste file, and let the names in it be this directory's and these servers'."""
        path = self.directory / OURS
        shutil.copy(self.directory / PLAIN, path)
        subprocess.run(["git", "apply", "-p0", DIFF], cwd=self.directory, check=True)
        text = path.read_text()
        for documented, here in (
            ("/var/lib/os-volume-ext", str(self.directory / "volumes")),
            ("/etc/nova", str(self.directory)),
            ("http://controller:8774", self.url),
            ("http://controller:5000", keystone.url),
        ):
            assert documented in text
            text = text.replace(documented, here)
        path.write_text(text)

    def make_servers(self, *servers: Mapping[str, Any]) -> list[str]:
        """Make servers as Nova's own objects; return their ids. ``make_servers.py`` describes the values of each."""
        return json.loads(self.run("python", MAKE_SERVERS, input=json.dumps(servers)))

    def command(self, *arguments: str) -> str:
        """Run ``os-volume-ext`` as Nova's operator does; return what it printed."""
        return self.run("python", "-m", "os_volume_ext.cli.main", *arguments, "--paste", str(self.directory / OURS))


# -- what is around Nova ------------------------------------------------------------------------------


PLACEMENT = {
    "id": "v1.0",
    "min_version": "1.0",
    "max_version": "1.39",
    "status": "CURRENT",
    "links": [{"rel": "self", "href": ""}],
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Surroundings:
    """The services that Nova calls: a Neutron, a Glance and a Placement, all empty."""

    port: int = field(default_factory=free_port)

    def register(self, keystone: Keystone, admin: str) -> None:
        """Name them in Keystone's catalog."""
        for kind in ("network", "image", "placement"):
            service = keystone.make("service", admin, type=kind, name=kind)
            endpoint = {"service_id": service["id"], "url": f"http://127.0.0.1:{self.port}/{kind}"}
            for interface in ("internal", "public"):
                keystone.make("endpoint", admin, **endpoint, interface=interface, region_id="RegionOne")

    def start(self) -> None:
        """Serve until ``stop``."""
        self._server = make_server("127.0.0.1", self.port, self._response, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """End it, and serve again at the same place afterwards."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @staticmethod
    def _response(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"].rstrip("/")
        if path == "/placement":
            document: Any = {"versions": [PLACEMENT]}
        elif path.startswith("/placement/allocations/"):
            document = {"allocations": {}}
        else:
            document = {path.rpartition("/")[2].replace("-", "_"): []}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]
