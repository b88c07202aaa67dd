"""A real Cinder: its API, scheduler and volume services, with the driver of ``files_driver`` and with that of Ceph."""

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import requests

from tests.support.ceph import CLIENT, POOL
from tests.support.daemons import Daemon
from tests.support.paths import ROOT
from tests.support.real_keystone import PASSWORD, Keystone
from tests.support.services import require_service
from tests.support.waiting import TIMEOUT, wait_until
from tests.support.wsgi_service import WSGIService

MICROVERSION = "volume 3.44"
DEBIAN = Path("/usr/lib/python3/dist-packages")
RPC_TIMEOUT = 10  # seconds, instead of 60: the tests wait for it
CONF = """
[DEFAULT]
transport_url = rabbit://guest:guest@127.0.0.1:5672/{virtual_host}
control_exchange = cinder
state_path = .
lock_path = locks
api_paste_config = {paste}
resource_query_filters_file = {filters}
enabled_backends = files
default_volume_type = __DEFAULT__
auth_strategy = keystone
quota_volumes = 1000
quota_gigabytes = 1000
rpc_response_timeout = {rpc_timeout}
# A volume service with another zone may start later.
az_cache_duration = 0
use_stderr = true
report_interval = 2
[files]
volume_driver = tests.integration.cinder.files_driver.FilesDriver
volume_backend_name = files
[database]
connection = {database}
[coordination]
backend_url = file://{directory}/coordination
[oslo_concurrency]
lock_path = {directory}/locks
[keystone_authtoken]
auth_url = {keystone}
auth_type = password
username = volumes
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
memcached_servers =
service_token_roles = service
service_token_roles_required = true
"""
# Read after the other, by a volume service whose volumes are those of an availability zone.
CEPH_CONF = """
[DEFAULT]
enabled_backends = ceph
storage_availability_zone = {zone}
[ceph]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
volume_backend_name = ceph
rbd_pool = {pool}
rbd_user = {user}
rbd_ceph_conf = {ceph_conf}
rbd_secret_uuid = {secret}
rados_connect_timeout = 5
"""
CEPH_ZONE = "ceph"


@dataclass
class Cinder(WSGIService):
    """Cinder; ``start`` and ``stop`` are those of its API."""

    module: str = "cinder.wsgi.api"
    ready: str = "/"
    ready_status: int = 300

    def __post_init__(self) -> None:
        self._conf = self.directory / "cinder.conf"
        self.arguments = ("--config-file", str(self._conf))
        self.files = self.directory / "files"
        self.scheduler = self._daemon("scheduler")
        self.volume_service = self._daemon("volume")

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def set_up(self, keystone: Keystone, database: str, virtual_host: str) -> None:
        """Make its database and configuration."""
        for name in ("files", "locks", "coordination"):
            (self.directory / name).mkdir()
        etc = self.venv / "etc/cinder"
        self._conf.write_text(
            CONF.format(
                virtual_host=virtual_host,
                paste=etc / "api-paste.ini",
                filters=etc / "resource_filters.json",
                database=database.replace("?ssl_disabled=true", ""),
                directory=self.directory,
                keystone=keystone.url,
                password=PASSWORD,
                rpc_timeout=RPC_TIMEOUT,
            )
        )
        self.run("cinder-manage", *self.arguments, "db", "sync")

    def register(self, keystone: Keystone, admin: str) -> None:
        """Name it in Keystone's catalog, with the project in its URL."""
        service = keystone.make("service", admin, type="block-storage", name="cinder")
        for interface in ("internal", "public"):
            keystone.make(
                "endpoint",
                admin,
                service_id=service["id"],
                url=f"{self.url}/v3/$(project_id)s",
                interface=interface,
                region_id="RegionOne",
            )

    @contextlib.contextmanager
    def all_serving(self, token: str, project: str) -> Iterator[None]:
        """Serve the API, scheduler and volume service meanwhile.

        :param token: of an administrator.
        """
        try:
            self.scheduler.start()
            with self.serving():
                # A scheduler that misses the first report of a volume service gets the next one after a minute or two,
                # and puts all new volumes in error until then.
                assert wait_until(lambda: self._get_pools(token, project).ok), self.scheduler.log
                self.volume_service.start()
                assert wait_until(lambda: self._is_up(token, project)), self.scheduler.log + self.volume_service.log
                yield
        finally:
            self.scheduler.kill()
            self.volume_service.kill()

    def _is_up(self, token: str, project: str) -> bool:
        self.scheduler.assert_running()
        self.volume_service.assert_running()
        response = self.send("GET", token, project, "/os-services")
        states = {each["binary"]: each["state"] for each in response.json()["services"]} if response.ok else {}
        return states == {"cinder-scheduler": "up", "cinder-volume": "up"} and self.has_pools("files", token, project)

    def _daemon(self, name: str, *arguments: str | Path, log: str = "", path: str = str(ROOT)) -> Daemon:
        command = [self.venv / "bin" / f"cinder-{name}", *self.arguments, *arguments]
        where = ["env", f"--chdir={self.directory}", f"PYTHONPATH={path}"]
        return Daemon("root", [*where, *command], self.directory / f"cinder-{log or name}.log")

    def ceph_volume_service(self, ceph_conf: Path, secret: str) -> Daemon:
        """Return another volume service, whose volumes are images in the pool of ``tests.support.ceph``.

        :param ceph_conf: has the keyring of Cinder's user.
        :param secret: the UUID that the ``connection_info`` has.
        """
        conf = self.directory / "ceph.conf"
        conf.write_text(CEPH_CONF.format(zone=CEPH_ZONE, pool=POOL, user=CLIENT, ceph_conf=ceph_conf, secret=secret))
        modules = self.directory / "modules"
        modules.mkdir()
        for source in _ceph_modules():
            (modules / source.name).symlink_to(source)
        return self._daemon("volume", "--config-file", conf, log="volume-ceph", path=str(modules))

    def new_volume(self, token: str, project: str, **values: Any) -> str:
        """Make a volume; return its id.

        :param values: of the request, such as ``volume_type``.
        """
        [volume_id] = self.new_volumes(1, token, project, **values)
        return volume_id

    def new_volumes(self, count: int, token: str, project: str, **values: Any) -> list[str]:
        """Make volumes at once; return their ids."""
        ids = [
            self.send("POST", token, project, "/volumes", {"volume": {"size": 1, **values}}).json()["volume"]["id"]
            for _ in range(count)
        ]
        for volume_id in ids:
            assert wait_until(lambda id_=volume_id: self.status(token, project, id_) == "available")
        return ids

    def has_pools(self, backend: str, token: str, project: str) -> bool:
        """Return whether the scheduler knows pools of a back end, to an administrator."""
        response = self._get_pools(token, project)
        return response.ok and any(f"@{backend}#" in pool["name"] for pool in response.json()["pools"])

    def _get_pools(self, token: str, project: str) -> requests.Response:
        return self.send("GET", token, project, "/scheduler-stats/get_pools")

    def status(self, token: str, project: str, volume_id: str) -> str | None:
        """Return the status of a volume; None if there is none."""
        response = self.send("GET", token, project, f"/volumes/{volume_id}")
        return response.json()["volume"]["status"] if response.ok else None

    def attach(self, token: str, project: str, server_id: str, volume_id: str, device: str = "/dev/vdz") -> None:
        """Make an attachment and complete it, as an administrator; do nothing if Cinder refuses it."""
        values = {"volume_uuid": volume_id, "instance_uuid": server_id}
        reserved = self.send("POST", token, project, "/attachments", {"attachment": values})
        if not reserved.ok:
            return
        path = f"/attachments/{reserved.json()['attachment']['id']}"
        connector = {"connector": {"host": "elsewhere", "mountpoint": device}}
        assert self.send("PUT", token, project, path, {"attachment": connector}).ok
        assert self.send("POST", token, project, f"{path}/action", {"os-complete": {}}).ok

    def send(
        self, method: str, token: str, project: str, path: str, document: Any = None, service: str | None = None
    ) -> requests.Response:
        """Send a request, as the owner of a token, for whom a service sends it."""
        headers = {"X-Auth-Token": token, "OpenStack-API-Version": MICROVERSION}
        headers |= {"X-Service-Token": service} if service else {}
        url = f"{self.url}/v3/{project}{path}"
        return requests.request(method, url, json=document, headers=headers, timeout=TIMEOUT)


def _ceph_modules() -> list[Path]:
    """Return the paths of Debian's modules rados and rbd, which no virtualenv can install."""
    paths = [DEBIAN / f"{name}{EXTENSION_SUFFIXES[0]}" for name in ("rados", "rbd")]
    missing = [path for path in paths if not path.exists()]
    require_service(
        not missing, f"{missing} not found: install python3-rados and python3-rbd, and use Debian's version of Python"
    )
    return paths


@contextlib.contextmanager
def virtual_host() -> Iterator[str]:
    """Give a virtual host of RabbitMQ of one's own where this user may make one, else the default one."""
    name = f"os-volume-ext-{uuid.uuid4().hex}"
    control = shutil.which("rabbitmqctl")
    if control is None or _run(control, "add_vhost", name):
        yield ""
        return
    _run(control, "set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    try:
        yield name
    finally:
        _run(control, "delete_vhost", name)


def _run(*command: str) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT).returncode
