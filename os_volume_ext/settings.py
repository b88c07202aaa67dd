"""The options of a filter's section: strings in a paste file, one frozen and typed object here.

What is unknown, missing or wrong stops start-up with a sentence that names the option and what it may be.
"""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from .api.dialects import CYCLADES, DIALECTS, Dialect
from .api.microversions import MICROVERSIONS
from .errors import ConfigurationError

LOG = logging.getLogger(__name__)

PREFIXES = ("database.", "backend.", "catalog.", "compute.")
NAMES = (
    "dialect",
    "max_microversion",
    "backend",
    "catalog",
    "policy_file",
    "attach_status",
    "detach_status",
    "server_states",
    "server_read_path",
    "max_body",
    "max_limit",
    "max_attachments",
    "operation_timeout",
    "stale_after",
    "max_operations",
    "reconcile_interval",
    "metrics",
    "notifications.transport_url",
    "notifications.topics",
    "notifications.publisher_id",
)


@dataclass(frozen=True)
class Settings:
    """What an operator has chosen; times are in seconds, sizes in bytes.

    ``attach_status``, ``detach_status`` and ``server_states`` are None where it is the dialect that says.
    """

    dialect: Dialect
    max_microversion: str | None
    backend: str
    catalog: str
    database_options: Mapping[str, str]
    backend_options: Mapping[str, str]
    catalog_options: Mapping[str, str]
    compute_options: Mapping[str, str] = field(repr=False)
    policy_file: str | None
    attach_status: int | None
    detach_status: int | None
    server_states: frozenset[str] | None
    server_read_path: str | None
    max_body: int
    max_limit: int
    max_attachments: int | None
    operation_timeout: int
    stale_after: int
    max_operations: int
    reconcile_interval: int
    metrics: bool
    notifications_transport_url: str | None = field(repr=False)
    notifications_topics: str
    notifications_publisher_id: str | None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "Settings":
        """Read the options of a section.

        :param options: by their names in a paste file, such as ``database.url``.
        :raises ConfigurationError: if one of them is unknown, missing or wrong.
        """
        for name in options:
            _check_known(name)
        dialect = _dialect(options)
        operation_timeout = _integer(options, "operation_timeout", 60, least=1)
        return cls(
            dialect=dialect,
            max_microversion=_max_microversion(options, dialect),
            backend=_required(options, "backend", "the name of a backend, such as directory"),
            catalog=options.get("catalog", "sql"),
            database_options=_group(options, "database."),
            backend_options={**_group(options, "backend."), "operation_timeout": str(operation_timeout)},
            catalog_options=_group(options, "catalog."),
            compute_options=_compute(options),
            policy_file=_policy_file(options),
            attach_status=_status(options, "attach_status"),
            detach_status=_status(options, "detach_status"),
            server_states=_states(options),
            server_read_path=_read_path(options),
            max_body=_integer(options, "max_body", 65536, least=1),
            max_limit=_integer(options, "max_limit", 1000, least=1),
            max_attachments=_integer(options, "max_attachments", 0, least=1) or None,
            operation_timeout=operation_timeout,
            stale_after=_stale_after(options, operation_timeout),
            max_operations=_integer(options, "max_operations", 8, least=1),
            reconcile_interval=_integer(options, "reconcile_interval", 0, least=0),
            metrics=_boolean(options, "metrics"),
            notifications_transport_url=_transport_url(options),
            notifications_topics=_topics(options),
            notifications_publisher_id=options.get("notifications.publisher_id"),
        )

    @property
    def overrides(self) -> dict[str, Any]:
        """What has been chosen that else the dialect says, by the name that it has there."""
        chosen = {name: getattr(self, name) for name in ("attach_status", "detach_status", "server_states")}
        return {name: value for name, value in chosen.items() if value is not None}


def warn_of_hidden(global_conf: Mapping[str, str]) -> None:
    """Say which of our options PasteDeploy does not pass on, because ``[DEFAULT]`` has one of that name."""
    for name in global_conf:
        if name in NAMES or name.startswith(PREFIXES):
            LOG.warning("[DEFAULT] of the paste file has %r: a filter's own option of that name is not seen", name)


def _check_known(name: str) -> None:
    if name in NAMES or name.startswith(PREFIXES):
        return
    near = difflib.get_close_matches(name, [*NAMES, *PREFIXES], 1)
    hint = f"did you mean {near[0]}{'...' if near[0] in PREFIXES else ''}?" if near else f"there are {_all_names()}"
    raise ConfigurationError(f"{name} is not an option of os-volume-ext: {hint}")


def _all_names() -> str:
    return ", ".join([*NAMES, *(f"{prefix}*" for prefix in PREFIXES)])


def _group(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


def _required(options: Mapping[str, str], name: str, what: str) -> str:
    if not options.get(name):
        raise ConfigurationError(f"{name} is missing: it must be {what}")
    return options[name]


def _integer(options: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least):
        raise ConfigurationError(f"{name} is {text!r}: it must be an integer, {least} or more")
    return int(text)


def _boolean(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false")
    if text.lower() not in ("true", "false"):
        raise ConfigurationError(f"{name} is {text!r}: it may be true or false")
    return text.lower() == "true"


def _dialect(options: Mapping[str, str]) -> Dialect:
    name = options.get("dialect", CYCLADES.name)
    if name not in DIALECTS:
        raise ConfigurationError(f"dialect is {name!r}: it may be {' or '.join(DIALECTS)}")
    return DIALECTS[name]


def _max_microversion(options: Mapping[str, str], dialect: Dialect) -> str | None:
    version = options.get("max_microversion")
    if version is None:
        return None
    spoken = list(MICROVERSIONS[dialect.name])
    if not spoken:
        raise ConfigurationError(f"max_microversion is not an option of the dialect {dialect.name}: it has one version")
    if version not in spoken:
        raise ConfigurationError(f"max_microversion is {version!r}: it may be {spoken[0]} to {spoken[-1]}")
    return version


def _status(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if text not in ("200", "202"):
        raise ConfigurationError(f"{name} is {text!r}: it may be 200 or 202")
    return int(text)


def _states(options: Mapping[str, str]) -> frozenset[str] | None:
    if "server_states" not in options:
        return None
    states = frozenset(state.strip().upper() for state in options["server_states"].split(",")) - {""}
    if not states:
        raise ConfigurationError("server_states is empty: it must name states, such as ACTIVE, STOPPED")
    return states


def _read_path(options: Mapping[str, str]) -> str | None:
    path = options.get("server_read_path")
    if path is not None and not (path.startswith("/") and "{server_id}" in path):
        raise ConfigurationError(
            f"server_read_path is {path!r}: it must be a path such as /servers/{{server_id}}/metadata"
        )
    return path


def _policy_file(options: Mapping[str, str]) -> str | None:
    path = options.get("policy_file")
    if path is not None and not PurePath(path).is_absolute():
        raise ConfigurationError(f"policy_file has the relative path {path!r}: write %(here)s/... or an absolute path")
    return path


def _stale_after(options: Mapping[str, str], operation_timeout: int) -> int:
    stale_after = _integer(options, "stale_after", 180, least=1)
    if stale_after <= 2 * operation_timeout:
        # A call that starts at the last moment must have ended before others take the row.
        raise ConfigurationError(
            f"stale_after is {stale_after}: it must be more than twice operation_timeout, which is {operation_timeout}"
        )
    return stale_after


def _transport_url(options: Mapping[str, str]) -> str | None:
    if any(name.startswith("notifications.") for name in options):
        _required(options, "notifications.transport_url", "oslo.messaging's URL, such as rabbit://user:password@broker")
    return options.get("notifications.transport_url")


def _topics(options: Mapping[str, str]) -> str:
    topics = options.get("notifications.topics", "notifications")
    if not all(topic.strip() for topic in topics.split(",")):
        raise ConfigurationError(f"notifications.topics is {topics!r}: it must name topics, with commas")
    return topics


def _compute(options: Mapping[str, str]) -> dict[str, str]:
    compute = _group(options, "compute.")
    if not compute:
        return compute
    _required(options, "compute.url", "the compute API's URL, such as http://controller:8774/v2.1")
    if ("token" in compute) == ("auth_type" in compute):
        raise ConfigurationError("compute.url needs either compute.token or compute.auth_type, a keystoneauth plugin")
    others = compute.keys() - {"url", "token"}
    if "token" in compute and others:
        raise ConfigurationError(f"compute.{min(others)} is not an option beside compute.token")
    return compute
