"""The options of a filter's section, each declared once, and the object that holds their values.

A field of ``Settings`` declares an option: its name, type, default and help. ``parse`` reads the values, which are
strings in a paste file and may be Python values in a call of ``make_filter``; the page "Options" of the documentation
is generated from the same declarations. An unknown, missing or invalid option stops start-up with a sentence that
names it and the values that it may have.
"""

import difflib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..api.dialects import CYCLADES, DIALECTS, Dialect
from ..errors import ConfigurationError
from .checks import check_combinations, check_no_options
from .options import Group, Option, group, member, option
from .types import (
    BOOLEAN,
    COMPUTE_URL,
    SERVER_STATES,
    STATUS,
    TOPICS,
    TRANSPORT_URL,
    AbsolutePath,
    AbsolutePaths,
    Choice,
    Integer,
    ServerPath,
    String,
)

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of a section; times are in seconds, sizes in bytes.

    ``backend`` and ``catalog`` are None where ``make_filter`` got objects.
    """

    dialect: Dialect = option(  # noqa: RUF009 - a field
        Choice(DIALECTS),
        default=CYCLADES,
        help="``cyclades`` or ``openstack``; see :doc:`dialects`.",
    )
    max_microversion: str | None = option(
        String("it must be a microversion, such as 2.79"),
        default=None,
        help="The newest of Nova's microversions that is supported, such as ``2.79``; none is 2.104. In openstack "
        "only; see :ref:`microversions <microversions>`.",
    )
    attach_status: int | None = option(
        STATUS,
        default=None,
        default_text="the dialect's",
        help="The status of a successful attach: 200 or 202. In cyclades it is 200; in openstack 200, and 202 from "
        "2.101 on. A status that is set here holds in every microversion.",
    )
    detach_status: int | None = option(
        STATUS,
        default=None,
        default_text="the dialect's",
        help="The same for a detach; 200 in cyclades, 202 in openstack.",
    )
    max_body: int = option(
        Integer(minimum=1),
        default=65536,
        help="The number of bytes that a request's body may have. A longer one is answered 413.",
    )
    max_limit: int = option(
        Integer(minimum=1),
        default=1000,
        help="The number of attachments that a list has at most.",
    )
    database_options: Mapping[str, str] = group(
        "database.",
        member(
            "database.url",
            String("it must name the database, such as sqlite:////path/file"),
            default_text="required",
            help="The database of the attachments and of the catalog ``sql``, as a URL of SQLAlchemy; see "
            ":doc:`databases`. Each filter section needs a database of its own.",
        ),
        help="More options of SQLAlchemy's ``engine_from_config``, such as ``database.pool_size`` or "
        "``database.pool_recycle``.",
    )
    catalog: str | None = option(
        String("it must be the name of a catalog, such as sql"),
        default="sql",
        help="The entry point name of the volume catalog, which knows the volumes: ``cinder``, or ``sql``, "
        "which is filled with ``os-volume-ext volume create``.",
    )
    catalog_options: Mapping[str, str] = group(
        "catalog.",
        help="The catalog's own options; ``sql`` has none. For those of ``cinder`` see :doc:`cinder`.",
    )
    backend: str | None = option(
        String("it must be the name of a backend, such as directory"),
        help="The entry point name of the backend, such as ``directory`` or ``libvirt``.",
    )
    backend_options: Mapping[str, str] = group(
        "backend.",
        help="The backend's own options. ``directory`` has one, ``backend.root``, which is required: the directory of "
        "its volumes and servers. For those of ``libvirt`` see :doc:`libvirt`, for those of ``cinder`` :doc:`cinder`.",
    )
    operation_timeout: int = option(
        Integer(minimum=1),
        default=60,
        help="The seconds that a backend call may take, and that a client waits for it. After that the client gets "
        "503.",
    )
    stale_after: int = option(
        Integer(minimum=1),
        default=180,
        help="The seconds after which a pending operation is stale and may be taken over; more than twice "
        "``operation_timeout``.",
    )
    max_operations: int = option(
        Integer(minimum=1),
        default=8,
        help="The number of attaches and detaches that may wait for the backend at once in one process; one more is "
        "answered 503. One project may have all of them, but gives up to half to others that need them. Each holds a "
        "thread of the server, and a backend that hangs may hold all of these and half as many again, so the process "
        "needs more threads than that; see :ref:`servers <servers>`. A call that timed out does not count here, but "
        "when 8 times this number of them are still running, the process starts no more.",
    )
    max_attachments: int | None = option(
        Integer(minimum=1),
        default=None,
        help="The number of volumes that a server may have; none is as many as the backend can attach.",
    )
    reconcile_interval: int = option(
        Integer(minimum=0),
        default=0,
        help="The seconds between two runs of :ref:`reconcile <reconcile>` by the API itself; 0 is never. One process "
        "at a time runs it, which has a lease in the database that lasts for one interval. Each process tries to "
        "acquire the lease once per interval or up to a fifth later, so when the process that has it ends, another "
        "one takes over within little more than two intervals.",
    )
    compute_options: Mapping[str, str] = group(
        "compute.",
        member(
            "compute.url",
            COMPUTE_URL,
            help="The compute API's URL, for requests to it outside of a client's request, by a user who sees the "
            "servers of all projects. ``reconcile`` needs it to attach missing disks again, and so do backends that "
            "must know a server's host. It decides which servers are gone; without it, the backend does.",
        ),
        member(
            "compute.token",
            String("it must be a token"),
            help="The token for requests to ``compute.url``, where there is one that does not expire.",
        ),
        member(
            "compute.auth_type",
            String("it must be the name of a keystoneauth plugin, such as v3password"),
            help="Instead of a token: the name of a keystoneauth plugin that gets one (extra ``keystone``), such as "
            "``v3password``.",
        ),
        help="That plugin's options; see :doc:`keystone`.",
    )
    compute_cafile: str | None = option(
        AbsolutePath("it must be an absolute path, such as /etc/ssl/certs/ca-certificates.crt"),
        name="compute.cafile",
        default=None,
        help="A file with the certificates, in PEM format, of the CAs to trust for requests to :confval:`compute.url` "
        "and to Keystone; none is those of the package ``certifi``.",
    )
    compute_insecure: bool = option(
        BOOLEAN,
        name="compute.insecure",
        default=False,
        help="``true`` accepts any certificate, so that whoever is in the network can read the token. Use it for tests "
        "only.",
    )
    compute_proxies_from_environment: bool = option(
        BOOLEAN,
        name="compute.proxies_from_environment",
        default=False,
        help="``true`` sends these requests through the proxies that the environment variables ``http_proxy``, "
        "``https_proxy``, ``all_proxy`` and ``no_proxy`` name. Otherwise they are ignored.",
    )
    server_states: frozenset[str] | None = option(
        SERVER_STATES,
        default=None,
        default_text="the dialect's",
        help="The statuses in which a server can attach and detach volumes, separated by commas. In cyclades "
        "``ACTIVE, STOPPED``; in openstack ``ACTIVE, PAUSED, SHUTOFF, VERIFY_RESIZE, SOFT_DELETED``, and from 2.20 on "
        "``SHELVED, SHELVED_OFFLOADED`` too. Statuses that are set here hold in every microversion. A server with a "
        "pending task can't in any status.",
    )
    server_read_path: str | None = option(
        ServerPath("it must be a path such as /servers/{server_id}/ips"),
        default=None,
        help="A path of the compute API that costs less than the server itself, such as "
        "``/servers/{server_id}/ips``. List and show request it to check that the caller may see the server.",
    )
    metrics: bool = option(
        BOOLEAN,
        default=False,
        help="``true`` counts operations for Prometheus (extra ``metrics``); see :doc:`metrics`.",
    )
    notifications_transport_url: str | None = option(
        TRANSPORT_URL,
        name="notifications.transport_url",
        default=None,
        secret=True,
        help="The message broker for notifications of attaches and detaches (extra ``notifications``), as a URL of "
        "oslo.messaging such as ``rabbit://user:password@broker:5672/``. See :doc:`notifications`.",
    )
    notifications_topics: tuple[str, ...] = option(
        TOPICS,
        name="notifications.topics",
        default=("notifications",),
        help="The topics of the notifications, separated by commas.",
    )
    notifications_publisher_id: str | None = option(
        String("it must be a string"),
        name="notifications.publisher_id",
        default=None,
        default_text="the host's name",
        help="The publisher of the notifications; the default has ``os-volume-ext.`` before the host's name.",
    )
    policy_file: str | None = option(
        AbsolutePath("it must be an absolute path, such as %(here)s/policy.yaml"),
        default=None,
        help="A YAML file of oslo.policy; see :doc:`keystone`.",
    )
    policy_dirs: tuple[str, ...] | None = option(
        AbsolutePaths("it must be absolute paths, such as %(here)s/policy.d, separated by commas"),
        default=None,
        default_text="policy.d beside the policy file",
        help="Directories with more such files, separated by commas; an empty value is none. Their rules override "
        "those of :confval:`policy_file`, without which they are not read; see :doc:`keystone`.",
    )

    @classmethod
    def parse(cls, options: Mapping[str, object], *, objects: Collection[str] = ()) -> "Settings":
        """Read the options of a section.

        :param options: by their names in a paste file, such as ``database.url``; strings as there, or Python values.
            None counts as not given.
        :param objects: which of ``backend`` and ``catalog`` are ready objects, and so have no name and no options.
        :raises ConfigurationError: if an option is unknown, missing or invalid.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            _check_known(name)
        passed_on = {name: value for name, value in given.items() if name not in NAMES}
        values: dict[str, Any] = {
            name: None if name in objects else each.read(passed_on if isinstance(each, Group) else given)
            for name, each in DECLARATIONS.items()
        }
        for name in objects:
            check_no_options(name, values[f"{name}_options"])
        values["backend_options"]["operation_timeout"] = str(values["operation_timeout"])
        settings = cls(**values)
        check_combinations(settings, given)
        return settings

    @property
    def clock_margin(self) -> int:
        """How many seconds after the last backend call of a claim can end its row is stale (docs/protocol.rst, R5)."""
        return self.stale_after - 2 * self.operation_timeout

    @property
    def overrides(self) -> dict[str, Any]:
        """The options that replace a value of the dialect, by their names there."""
        values = {name: getattr(self, name) for name in ("attach_status", "detach_status", "server_states")}
        return {name: value for name, value in values.items() if value is not None}


def _declarations() -> Iterator[tuple[str, Option | Group]]:
    for each in fields(Settings):
        if group := each.metadata.get("group"):
            yield each.name, group
        else:
            yield each.name, Option(name=each.metadata["name"] or each.name, **each.metadata["option"])


DECLARATIONS: Mapping[str, Option | Group] = dict(_declarations())
"""Options and groups of options, by the names of the fields."""
OPTIONS = tuple(each for each in DECLARATIONS.values() if isinstance(each, Option))
NAMES = tuple(option.name for option in OPTIONS)
GROUPS = tuple(each for each in DECLARATIONS.values() if isinstance(each, Group))
PREFIXES = tuple(group.prefix for group in GROUPS)


def warn_of_hidden(global_conf: Mapping[str, str]) -> None:
    """Warn of options that PasteDeploy does not pass on, because ``[DEFAULT]`` has one of the same name.

    :param global_conf: the content of ``[DEFAULT]``.
    """
    for name in global_conf:
        if name in NAMES or name.startswith(PREFIXES):
            LOG.warning("[DEFAULT] of the paste file has %r: a filter's own option of that name is ignored", name)


def _check_known(name: str) -> None:
    if name in NAMES or name.startswith(PREFIXES):
        return
    near = difflib.get_close_matches(name, [*NAMES, *PREFIXES], 1)
    hint = f"did you mean {near[0]}{'...' if near[0] in PREFIXES else ''}?" if near else f"there are {_all_names()}"
    raise ConfigurationError(f"{name} is not an option of os-volume-ext: {hint}")


def _all_names() -> str:
    return ", ".join([*NAMES, *(f"{prefix}*" for prefix in PREFIXES)])
