"""The options of a filter's section: each declared once in ``OPTIONS``, and parsed into one frozen, typed object.

An unknown, missing or invalid option stops start-up with a message that names the option and what it may be.
"""

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from .api.dialects import CYCLADES, DIALECTS, Dialect
from .api.microversions import MICROVERSIONS
from .errors import ConfigurationError

LOG = logging.getLogger(__name__)

MAX_DIGITS = 18  # what fits into 64 bits, and keeps int() from refusing thousands of digits


@dataclass(frozen=True)
class Type:
    """The type of an option."""

    description: str
    """Values that it may have, as docs/options.rst says it."""

    parse: Callable[[str, object], Any]
    """Return the parsed value, given the option's name and a string or a Python value.

    Raises ConfigurationError if the value is invalid.
    """


@dataclass(frozen=True)
class Option:
    """An option of a filter's section."""

    name: str
    """The name in a paste file; ``database.*`` stands for all options with that prefix."""

    type: Type

    help: str
    """What the option does, as a sentence of docs/options.rst."""

    default: Any = None
    """The parsed value where the option is not given; ``REQUIRED`` if it must be given."""

    default_text: str | None = None
    """How docs/options.rst describes the default, where this is not the value."""


REQUIRED = object()


def _text(name: str, value: object, *, of: str) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {value!r}: it must be {of}")
    return value


def _string(description: str = "a string") -> Type:
    return Type(description, lambda name, value: _text(name, value, of=description))


def _secret(description: str) -> Type:
    """Return a type whose errors do not quote the value."""

    def parse(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} has the type {type(value).__name__}: it must be {description}")
        return value

    return Type(description, parse)


def _integer(minimum: int) -> Type:
    description = f"an integer, {minimum} or more"

    def parse(name: str, value: object) -> int:
        text = str(value) if type(value) is int else value
        is_integer = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        if not (is_integer and int(str(text)) >= minimum):
            raise ConfigurationError(f"{name} is {value!r}: it must be {description}")
        return int(str(text))

    return Type(description, parse)


def _parse_boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if not (isinstance(value, str) and value.lower() in ("true", "false")):
        raise ConfigurationError(f"{name} is {value!r}: it may be true or false")
    return value.lower() == "true"


def _parse_status(name: str, value: object) -> int:
    if value not in ("200", "202") and not (type(value) is int and value in (200, 202)):
        raise ConfigurationError(f"{name} is {value!r}: it may be 200 or 202")
    return int(str(value))


def _parse_dialect(name: str, value: object) -> Dialect:
    if not (isinstance(value, str) and value in DIALECTS):
        raise ConfigurationError(f"{name} is {value!r}: it may be {' or '.join(DIALECTS)}")
    return DIALECTS[value]


def _items(name: str, value: object, *, of: str) -> list[str]:
    """Split a string at its commas, or take the strings of a list."""
    if isinstance(value, str):
        return value.split(",")
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        items = list(value)
        if all(isinstance(item, str) for item in items):
            return items
    raise ConfigurationError(f"{name} is {value!r}: it must be {of}")


def _parse_states(name: str, value: object) -> frozenset[str]:
    items = _items(name, value, of=_STATES)
    states = frozenset(item.strip().upper() for item in items) - {""}
    if not states:
        raise ConfigurationError(f"{name} is empty: it must name states, such as ACTIVE, STOPPED")
    return states


def _parse_topics(name: str, value: object) -> str:
    items = _items(name, value, of=_TOPICS)
    if not (items and all(item.strip() for item in items)):
        raise ConfigurationError(f"{name} is {value!r}: it must name topics, with commas")
    return ",".join(items)


def _parse_read_path(name: str, value: object) -> str:
    if not (isinstance(value, str) and value.startswith("/") and "{server_id}" in value):
        raise ConfigurationError(f"{name} is {value!r}: it must be a path such as /servers/{{server_id}}/metadata")
    return value


def _parse_absolute_path(name: str, value: object) -> str:
    path = _text(name, value, of="an absolute path")
    if not PurePath(path).is_absolute():
        raise ConfigurationError(f"{name} has the relative path {path!r}: write %(here)s/... or an absolute path")
    return path


def _parse_plugin_option(name: str, value: object) -> str:
    """Return an option of a plugin or driver as the string that a paste file would have; it may be a secret."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise ConfigurationError(
        f"{name} has the type {type(value).__name__}: it must be a string, number, boolean or path"
    )


_STATES = "a list of states, with commas"
_TOPICS = "a list of topics, with commas"

_DIALECT = Type(" or ".join(DIALECTS), _parse_dialect)
_BOOLEAN = Type("true or false", _parse_boolean)
_STATUS = Type("200 or 202", _parse_status)
_POSITIVE = _integer(1)
_DRIVER_OPTION = Type("as SQLAlchemy defines it", _parse_plugin_option)
_PLUGIN_OPTION = Type("as the plugin defines it", _parse_plugin_option)
_DATABASE_URL = Type("a URL such as sqlite:////path/file", _parse_plugin_option)
_STRING_OPTION = Type("a string", _parse_plugin_option)
_COMPUTE_URL = Type("the compute API's URL, such as http://controller:8774/v2.1", _parse_plugin_option)
_DIALECTS_OWN = "the dialect's"

OPTIONS = (
    Option("dialect", _DIALECT, "The API to serve.", CYCLADES, f"``{CYCLADES.name}``"),
    Option("max_microversion", _string("a version such as 2.79"), "The newest of Nova's microversions to serve."),
    Option(
        "attach_status",
        _STATUS,
        "The status of a successful attach, in every microversion.",
        default_text=_DIALECTS_OWN,
    ),
    Option(
        "detach_status",
        _STATUS,
        "The status of a successful detach, in every microversion.",
        default_text=_DIALECTS_OWN,
    ),
    Option("max_body", _POSITIVE, "The largest body of a request, in bytes; a larger one gets 413.", 65536),
    Option("max_limit", _POSITIVE, "The largest number of attachments in a list.", 1000),
    Option(
        "database.url",
        _DATABASE_URL,
        "The database of the attachments and of the catalog ``sql``, as a URL of SQLAlchemy.",
        REQUIRED,
    ),
    Option("database.*", _DRIVER_OPTION, "Other options of SQLAlchemy's ``engine_from_config``."),
    Option("catalog", _string("the name of a catalog, such as sql"), "The volume catalog's entry point name.", "sql"),
    Option("catalog.*", _PLUGIN_OPTION, "The catalog's own options."),
    Option("backend", _string("the name of a backend, such as directory"), "The backend's entry point name.", REQUIRED),
    Option("backend.*", _PLUGIN_OPTION, "The backend's own options."),
    Option("operation_timeout", _POSITIVE, "The seconds after which a backend call times out.", 60),
    Option(
        "stale_after", _POSITIVE, "The seconds after which an attachment that is still pending counts as stale.", 180
    ),
    Option(
        "max_operations", _POSITIVE, "The largest number of attaches and detaches that one process has in progress.", 8
    ),
    Option("max_attachments", _POSITIVE, "The largest number of volumes attached to a server."),
    Option(
        "reconcile_interval",
        _integer(0),
        "The seconds between two runs of ``reconcile`` within the API's processes; 0 means never.",
        0,
    ),
    Option("compute.url", _COMPUTE_URL, "The compute API's URL, for requests with the operator's credentials."),
    Option("compute.token", _STRING_OPTION, "A token for these requests that does not expire."),
    Option(
        "compute.auth_type",
        _STRING_OPTION,
        "The name of a keystoneauth plugin that gets such tokens, such as ``v3password``.",
    ),
    Option("compute.*", _PLUGIN_OPTION, "That plugin's options."),
    Option(
        "server_states",
        Type(_STATES, _parse_states),
        "The states of a server in which volumes can be attached and detached, in every microversion.",
        default_text=_DIALECTS_OWN,
    ),
    Option(
        "server_read_path",
        Type("a path with ``{server_id}``", _parse_read_path),
        "A path that responds faster than ``/servers/{server_id}``, to check that a server exists when attachments are "
        "listed or shown.",
    ),
    Option("metrics", _BOOLEAN, "Whether to count operations for Prometheus (extra ``metrics``).", False, "``false``"),
    Option(
        "notifications.transport_url",
        _secret("oslo.messaging's URL, such as rabbit://user:password@broker"),
        "Where notifications of attaches and detaches are sent (extra ``notifications``).",
    ),
    Option("notifications.topics", Type(_TOPICS, _parse_topics), "The topics of the notifications.", "notifications"),
    Option(
        "notifications.publisher_id",
        _string(),
        "The notifications' publisher.",
        default_text="``os-volume-ext.`` and the host's name",
    ),
    Option("policy_file", Type("an absolute path", _parse_absolute_path), "A YAML file of oslo.policy."),
)

PREFIXES = tuple(option.name.removesuffix("*") for option in OPTIONS if option.name.endswith(".*"))
_BY_NAME = {option.name: option for option in OPTIONS}
_SINGLE = tuple(option for option in OPTIONS if not option.name.startswith(PREFIXES))
NAMES = tuple(option.name for option in _SINGLE)


@dataclass(frozen=True)
class Settings:
    """The parsed options of a filter; times are in seconds, sizes in bytes.

    ``attach_status``, ``detach_status`` and ``server_states`` are None where the dialect determines them.
    """

    dialect: Dialect
    max_microversion: str | None
    backend: str
    catalog: str
    database_options: Mapping[str, str] = field(repr=False)
    backend_options: Mapping[str, str] = field(repr=False)
    catalog_options: Mapping[str, str] = field(repr=False)
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
    def parse(cls, options: Mapping[str, object]) -> "Settings":
        """Parse the options of a section.

        :param options: strings as in a paste file, or Python values, by names such as ``database.url``; None stands
            for the default.
        :raises ConfigurationError: if an option is unknown, missing or invalid.
        """
        for name in options:
            _check_known(name)
        given = {name: value for name, value in options.items() if value is not None}
        values = {option.name.replace(".", "_"): _value(option, given) for option in _SINGLE}
        groups: dict[str, Any] = {f"{prefix.removesuffix('.')}_options": _group(given, prefix) for prefix in PREFIXES}
        groups["backend_options"]["operation_timeout"] = str(values["operation_timeout"])
        settings = cls(**values, **groups)
        _check_microversion(settings)
        _check_timeouts(settings)
        _check_notifications(settings, given)
        _check_compute(settings.compute_options)
        return settings

    @property
    def overrides(self) -> dict[str, Any]:
        """The options that take precedence over attributes of the dialect, by the attribute's name."""
        chosen = {name: getattr(self, name) for name in ("attach_status", "detach_status", "server_states")}
        return {name: value for name, value in chosen.items() if value is not None}


def warn_of_hidden(global_conf: Mapping[str, str]) -> None:
    """Log which options PasteDeploy does not pass to the filter, because ``[DEFAULT]`` has the same name."""
    for name in global_conf:
        if _is_known(name):
            LOG.warning(
                "[DEFAULT] of the paste file has %r: PasteDeploy does not pass a filter's own option of that name", name
            )


def _is_known(name: str) -> bool:
    return name in NAMES or name.startswith(PREFIXES)


def _check_known(name: str) -> None:
    if _is_known(name):
        return
    near = difflib.get_close_matches(name, [*NAMES, *PREFIXES], 1)
    hint = f"did you mean {near[0]}{'...' if near[0] in PREFIXES else ''}?" if near else f"there are {_all_names()}"
    raise ConfigurationError(f"{name} is not an option of os-volume-ext: {hint}")


def _all_names() -> str:
    return ", ".join([*NAMES, *(f"{prefix}*" for prefix in PREFIXES)])


def _missing(name: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is missing: it must be {_BY_NAME[name].type.description}")


def _value(option: Option, given: Mapping[str, object]) -> Any:
    if option.default is REQUIRED and given.get(option.name, "") == "":
        raise _missing(option.name)
    if option.name not in given:
        return option.default
    return option.type.parse(option.name, given[option.name])


def _group(given: Mapping[str, object], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): _parse_plugin_option(name, value)
        for name, value in given.items()
        if name.startswith(prefix)
    }


def _check_microversion(settings: Settings) -> None:
    dialect, version = settings.dialect, settings.max_microversion
    if version is None:
        return
    versions = list(MICROVERSIONS[dialect.name])
    if not versions:
        raise ConfigurationError(f"max_microversion is not an option of the dialect {dialect.name}: it has one version")
    if version not in versions:
        raise ConfigurationError(f"max_microversion is {version!r}: it may be {versions[0]} to {versions[-1]}")


def _check_timeouts(settings: Settings) -> None:
    # A backend call that starts at the last moment must have ended before another worker takes over the row.
    if settings.stale_after <= 2 * settings.operation_timeout:
        raise ConfigurationError(
            f"stale_after is {settings.stale_after}: it must be more than twice operation_timeout, which is "
            f"{settings.operation_timeout}"
        )


def _check_notifications(settings: Settings, given: Mapping[str, object]) -> None:
    if any(name.startswith("notifications.") for name in given) and not settings.notifications_transport_url:
        raise _missing("notifications.transport_url")


def _check_compute(compute: Mapping[str, str]) -> None:
    if not compute:
        return
    if not compute.get("url"):
        raise _missing("compute.url")
    if ("token" in compute) == ("auth_type" in compute):
        raise ConfigurationError("compute.url needs either compute.token or compute.auth_type, a keystoneauth plugin")
    others = compute.keys() - {"url", "token"}
    if "token" in compute and others:
        raise ConfigurationError(f"compute.{min(others)} is not an option beside compute.token")
