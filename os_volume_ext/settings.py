"""The options of a filter's section, each declared once, and the object that holds their values.

A field of ``Settings`` declares an option: its name, type, default and help. ``parse`` reads the values, which are
strings in a paste file and may be Python values in a call of ``make_filter``; the page "Options" of the documentation
is generated from the same declarations. An unknown, missing or invalid option stops start-up with a sentence that
names it and the values that it may have.
"""

import abc
import difflib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any, Generic, TypeVar, overload

from .api.dialects import CYCLADES, DIALECTS, Dialect
from .errors import ConfigurationError

LOG = logging.getLogger(__name__)

MAX_DIGITS = 18

T = TypeVar("T")
D = TypeVar("D")


# -- types of options ------------------------------------------------------------------------------------


class OptionType(abc.ABC, Generic[T]):
    """Converts the value of an option.

    ``oslo_config.types`` has similar classes, but they accept what an operator did not mean: blanks, ``1_0`` and
    digits of other scripts as an integer, ``true`` as 1.
    """

    def __init__(self, expected: str) -> None:
        """Make a type.

        :param expected: which values it accepts; the end of an error message, such as "it may be true or false".
        """
        self.expected = expected

    @abc.abstractmethod
    def convert(self, value: object) -> T:
        """Return the value that a string of a paste file, or a Python value, stands for.

        :raises ValueError: if it is none of this type's.
        """


class Integer(OptionType[int]):
    """An integer, or its decimal digits."""

    def __init__(self, minimum: int) -> None:
        """Make a type.

        :param minimum: the smallest integer that it accepts.
        """
        super().__init__(f"it must be an integer, {minimum} or more")
        self.minimum = minimum

    def convert(self, value: object) -> int:
        digits = str(value) if type(value) is int else value
        if not (isinstance(digits, str) and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            raise ValueError
        if int(digits) < self.minimum:
            raise ValueError
        return int(digits)


class Choice(OptionType[T]):
    """One of a few values, or its name."""

    def __init__(self, choices: Mapping[str, T], *, ignore_case: bool = False) -> None:
        """Make a type.

        :param choices: the values by their names in a paste file.
        :param ignore_case: whether the name may be in any case.
        """
        super().__init__(f"it may be {' or '.join(choices)}")
        self._choices = choices
        self._ignore_case = ignore_case

    def convert(self, value: object) -> T:
        if isinstance(value, str):
            try:
                return self._choices[value.lower() if self._ignore_case else value]
            except KeyError:
                raise ValueError from None
        for choice in self._choices.values():
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError


class String(OptionType[str]):
    """A string."""

    def convert(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        return value


class AbsolutePath(OptionType[str]):
    """The absolute path of a file; a ``pathlib`` path too."""

    def convert(self, value: object) -> str:
        if not isinstance(value, str | os.PathLike):
            raise ValueError
        path = os.fspath(value)
        if not (isinstance(path, str) and PurePath(path).is_absolute()):
            raise ValueError
        return path


class AbsolutePaths(OptionType[tuple[str, ...]]):
    """Absolute paths separated by commas, or a collection of them; an empty string is none."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self._path = AbsolutePath(expected)

    def convert(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [path.strip() for path in value.split(",")] if value else ()
        if not isinstance(value, Collection) or isinstance(value, bytes):
            raise ValueError
        return tuple([self._path.convert(path) for path in value])


class ServerPath(OptionType[str]):
    """A path of the compute API that has ``{server_id}`` in it."""

    def convert(self, value: object) -> str:
        if not (isinstance(value, str) and value.startswith("/") and "{server_id}" in value):
            raise ValueError
        return value


class Names(OptionType[T]):
    """Names separated by commas, or a list, tuple or set of names."""

    def __init__(self, expected: str, collect: Callable[[Iterable[str]], T]) -> None:
        """Make a type.

        :param expected: as for ``OptionType``.
        :param collect: makes the value of the names, which have no blanks around them but may be empty.
        """
        super().__init__(expected)
        self._collect = collect

    def convert(self, value: object) -> T:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
            raise ValueError
        return self._collect(name.strip() for name in names)


def _server_states(names: Iterable[str]) -> frozenset[str]:
    states = frozenset(name.upper() for name in names) - {""}
    if not states:
        raise ValueError
    return states


def _topics(names: Iterable[str]) -> tuple[str, ...]:
    topics = tuple(names)
    if not (topics and all(topics)):
        raise ValueError
    return topics


# -- declarations ----------------------------------------------------------------------------------------

_REQUIRED = object()


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a filter's section."""

    name: str
    """The name in a paste file, such as ``notifications.topics``."""
    type: OptionType[Any]
    default: Any
    """The value where the option is not given, after conversion."""
    default_text: str | None
    """The default in the documentation, where it is no literal: None for a literal."""
    help: str
    """What the option means, in reST, for the documentation."""
    secret: bool = False
    """Whether the value may have a password in it, and is not shown."""

    def read(self, given: Mapping[str, object]) -> Any:
        """Return the option's value.

        :param given: the options of a section, by name.
        :raises ConfigurationError: if the option is required and missing, or its value is invalid.
        """
        value = given.get(self.name)
        if self.default is _REQUIRED and value in (None, ""):
            raise _missing(self.name, self.type)
        if value is None:
            return self.default
        try:
            return self.type.convert(value)
        except ValueError:
            shown = f"of the type {type(value).__name__}" if self.secret else repr(value)
            raise ConfigurationError(f"{self.name} is {shown}: {self.type.expected}") from None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The options of a prefix, which belong to a plugin or a library; it gets them as strings, without the prefix."""

    prefix: str
    """The prefix with its dot, such as ``database.``."""
    help: str
    """What the options mean, in reST, for the documentation."""
    members: tuple[Option, ...] = ()
    """The options of the group that have a meaning here."""

    def read(self, given: Mapping[str, object]) -> dict[str, str]:
        """Return the group's options that are not declared as fields of their own.

        :param given: the options of a section, by name.
        :raises ConfigurationError: if a value has no string form.
        """
        return {
            name.removeprefix(self.prefix): _to_string(name, value)
            for name, value in given.items()
            if name.startswith(self.prefix) and name not in NAMES
        }


def _missing(name: str, type_: OptionType[Any]) -> ConfigurationError:
    return ConfigurationError(f"{name} is missing: {type_.expected}")


def _to_string(name: str, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float() | PurePath():
            return str(value)
    # The value itself may be a password.
    raise ConfigurationError(
        f"{name} is of the type {type(value).__name__}: it must be a string, a number, a boolean or a path"
    )


@overload
def _option(type_: OptionType[T], *, help: str, name: str = "") -> T: ...
@overload
def _option(
    type_: OptionType[T],
    *,
    default: D,
    help: str,
    name: str = "",
    default_text: str | None = None,
    secret: bool = False,
) -> T | D: ...
def _option(
    type_: OptionType[Any],
    *,
    default: Any = _REQUIRED,
    help: str,
    name: str = "",
    default_text: str | None = None,
    secret: bool = False,
) -> Any:
    """Declare an option as a field.

    :param default: the value where the option is not given; without one the option is required.
    :param name: the name in a paste file, where it is not the field's.
    :param default_text: the default in the documentation, where it is no literal.
    :param secret: whether the value may have a password in it, and is not shown.
    """
    if default is _REQUIRED:
        default_text = "required"
    elif default is None:
        default_text = default_text or "none"
    declared = {"type": type_, "default": default, "default_text": default_text, "help": help, "secret": secret}
    return field(repr=not secret, metadata={"name": name, "option": declared})


def _group(prefix: str, *members: Option, help: str) -> Any:
    """Declare the options of a prefix as a field; any of them may have a password in it, so none is shown."""
    return field(repr=False, metadata={"group": Group(prefix=prefix, members=members, help=help)})


def _member(name: str, type_: OptionType[Any], *, default_text: str = "none", help: str) -> Option:
    return Option(name=name, type=type_, default=None, default_text=default_text, help=help)


_COMPUTE_URL = String("it must be the compute API's URL, such as http://controller:8774/v2.1")
_TRANSPORT_URL = String("it must be oslo.messaging's URL, such as rabbit://user:password@broker")
_BOOLEAN = Choice({"true": True, "false": False}, ignore_case=True)
_STATUS = Choice({"200": 200, "202": 202})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of a section; times are in seconds, sizes in bytes.

    ``backend`` and ``catalog`` are None where ``make_filter`` got objects.
    """

    dialect: Dialect = _option(  # noqa: RUF009 - a field
        Choice(DIALECTS),
        default=CYCLADES,
        help="``cyclades`` or ``openstack``; see :doc:`dialects`.",
    )
    max_microversion: str | None = _option(
        String("it must be a microversion, such as 2.79"),
        default=None,
        help="The newest of Nova's microversions that is supported, such as ``2.79``; none is 2.104. In openstack "
        "only; see :ref:`microversions <microversions>`.",
    )
    attach_status: int | None = _option(
        _STATUS,
        default=None,
        default_text="the dialect's",
        help="The status of a successful attach: 200 or 202. In cyclades it is 200; in openstack 200, and 202 from "
        "2.101 on. A status that is set here holds in every microversion.",
    )
    detach_status: int | None = _option(
        _STATUS,
        default=None,
        default_text="the dialect's",
        help="The same for a detach; 200 in cyclades, 202 in openstack.",
    )
    max_body: int = _option(
        Integer(minimum=1),
        default=65536,
        help="The number of bytes that a request's body may have. A longer one is answered 413.",
    )
    max_limit: int = _option(
        Integer(minimum=1),
        default=1000,
        help="The number of attachments that a list has at most.",
    )
    database_options: Mapping[str, str] = _group(
        "database.",
        _member(
            "database.url",
            String("it must name the database, such as sqlite:////path/file"),
            default_text="required",
            help="The database of the attachments and of the catalog ``sql``, as a URL of SQLAlchemy; see "
            ":doc:`databases`. Each filter section needs a database of its own.",
        ),
        help="More options of SQLAlchemy's ``engine_from_config``, such as ``database.pool_size`` or "
        "``database.pool_recycle``.",
    )
    catalog: str | None = _option(
        String("it must be the name of a catalog, such as sql"),
        default="sql",
        help="The entry point name of the volume catalog, which knows the volumes; ``sql`` is filled with "
        "``os-volume-ext volume create``.",
    )
    catalog_options: Mapping[str, str] = _group(
        "catalog.",
        help="The catalog's own options; ``sql`` has none.",
    )
    backend: str | None = _option(
        String("it must be the name of a backend, such as directory"),
        help="The entry point name of the backend, such as ``directory`` or ``libvirt``.",
    )
    backend_options: Mapping[str, str] = _group(
        "backend.",
        help="The backend's own options. ``directory`` has one, ``backend.root``, which is required: the directory of "
        "its volumes and servers. For those of ``libvirt`` see :doc:`libvirt`.",
    )
    operation_timeout: int = _option(
        Integer(minimum=1),
        default=60,
        help="The seconds that a backend call may take, and that a client waits for it. After that the client gets "
        "503.",
    )
    stale_after: int = _option(
        Integer(minimum=1),
        default=180,
        help="The seconds after which a pending operation is stale and may be taken over; more than twice "
        "``operation_timeout``.",
    )
    max_operations: int = _option(
        Integer(minimum=1),
        default=8,
        help="The number of attaches and detaches that may wait for the backend at once in one process; one more is "
        "answered 503. One project may have all of them, but gives up to half to others that need them. Each holds a "
        "thread of the server, and a backend that hangs may hold all of these and half as many again, so the process "
        "needs more threads than that; see :ref:`servers <servers>`. A call that timed out does not count here, but "
        "when 8 times this number of them are still running, the process starts no more.",
    )
    max_attachments: int | None = _option(
        Integer(minimum=1),
        default=None,
        help="The number of volumes that a server may have; none is as many as the backend can attach.",
    )
    reconcile_interval: int = _option(
        Integer(minimum=0),
        default=0,
        help="The seconds between two runs of :ref:`reconcile <reconcile>` by the API itself; 0 is never. One process "
        "at a time runs it, which has a lease in the database that lasts for one interval. Each process tries to "
        "acquire the lease once per interval or up to a fifth later, so when the process that has it ends, another "
        "one takes over within little more than two intervals.",
    )
    compute_options: Mapping[str, str] = _group(
        "compute.",
        _member(
            "compute.url",
            _COMPUTE_URL,
            help="The compute API's URL, for requests to it outside of a client's request, by a user who sees the "
            "servers of all projects. ``reconcile`` needs it to attach missing disks again, and so do backends that "
            "must know a server's host. It decides which servers are gone; without it, the backend does.",
        ),
        _member(
            "compute.token",
            String("it must be a token"),
            help="The token for requests to ``compute.url``, where there is one that does not expire.",
        ),
        _member(
            "compute.auth_type",
            String("it must be the name of a keystoneauth plugin, such as v3password"),
            help="Instead of a token: the name of a keystoneauth plugin that gets one (extra ``keystone``), such as "
            "``v3password``.",
        ),
        help="That plugin's options; see :doc:`keystone`.",
    )
    compute_cafile: str | None = _option(
        AbsolutePath("it must be an absolute path, such as /etc/ssl/certs/ca-certificates.crt"),
        name="compute.cafile",
        default=None,
        help="A file with the certificates, in PEM format, of the CAs to trust for requests to :confval:`compute.url` "
        "and to Keystone; none is those of the package ``certifi``.",
    )
    compute_insecure: bool = _option(
        _BOOLEAN,
        name="compute.insecure",
        default=False,
        help="``true`` accepts any certificate, so that whoever is in the network can read the token. Use it for tests "
        "only.",
    )
    compute_proxies_from_environment: bool = _option(
        _BOOLEAN,
        name="compute.proxies_from_environment",
        default=False,
        help="``true`` sends these requests through the proxies that the environment variables ``http_proxy``, "
        "``https_proxy``, ``all_proxy`` and ``no_proxy`` name. Otherwise they are ignored.",
    )
    server_states: frozenset[str] | None = _option(
        Names("it must name server statuses, such as ACTIVE, STOPPED", _server_states),
        default=None,
        default_text="the dialect's",
        help="The statuses in which a server can attach and detach volumes, separated by commas. In cyclades "
        "``ACTIVE, STOPPED``; in openstack ``ACTIVE, PAUSED, SHUTOFF, VERIFY_RESIZE, SOFT_DELETED``, and from 2.20 on "
        "``SHELVED, SHELVED_OFFLOADED`` too. Statuses that are set here hold in every microversion. A server with a "
        "pending task can't in any status.",
    )
    server_read_path: str | None = _option(
        ServerPath("it must be a path such as /servers/{server_id}/metadata"),
        default=None,
        help="A path of the compute API that costs less than the server itself, such as "
        "``/servers/{server_id}/metadata``. List and show request it to check that the caller may see the server.",
    )
    metrics: bool = _option(
        _BOOLEAN,
        default=False,
        help="``true`` counts operations for Prometheus (extra ``metrics``); see :doc:`metrics`.",
    )
    notifications_transport_url: str | None = _option(
        _TRANSPORT_URL,
        name="notifications.transport_url",
        default=None,
        secret=True,
        help="The message broker for notifications of attaches and detaches (extra ``notifications``), as a URL of "
        "oslo.messaging such as ``rabbit://user:password@broker:5672/``. See :doc:`notifications`.",
    )
    notifications_topics: tuple[str, ...] = _option(
        Names("it must name topics, separated by commas", _topics),
        name="notifications.topics",
        default=("notifications",),
        help="The topics of the notifications, separated by commas.",
    )
    notifications_publisher_id: str | None = _option(
        String("it must be a string"),
        name="notifications.publisher_id",
        default=None,
        default_text="the host's name",
        help="The publisher of the notifications; the default has ``os-volume-ext.`` before the host's name.",
    )
    policy_file: str | None = _option(
        AbsolutePath("it must be an absolute path, such as %(here)s/policy.yaml"),
        default=None,
        help="A YAML file of oslo.policy; see :doc:`keystone`.",
    )
    policy_dirs: tuple[str, ...] | None = _option(
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
        values: dict[str, Any] = {
            name: None if name in objects else each.read(given) for name, each in DECLARATIONS.items()
        }
        for name in objects:
            _check_no_options(name, values[f"{name}_options"])
        values["backend_options"]["operation_timeout"] = str(values["operation_timeout"])
        settings = cls(**values)
        settings._check_max_microversion()
        settings._check_stale_after()
        settings._check_policy_dirs()
        _check_notifications(given)
        settings._check_compute(given)
        return settings

    @property
    def overrides(self) -> dict[str, Any]:
        """The options that replace a value of the dialect, by their names there."""
        values = {name: getattr(self, name) for name in ("attach_status", "detach_status", "server_states")}
        return {name: value for name, value in values.items() if value is not None}

    def _check_max_microversion(self) -> None:
        if self.max_microversion is None:
            return
        supported = self.dialect.microversions
        if not supported:
            raise ConfigurationError(
                f"max_microversion is not an option of the dialect {self.dialect.name}: it has one version"
            )
        if self.max_microversion not in supported:
            raise ConfigurationError(
                f"max_microversion is {self.max_microversion!r}: it may be {supported[0]} to {supported[-1]}"
            )

    def _check_stale_after(self) -> None:
        if self.stale_after <= 2 * self.operation_timeout:
            # A call that starts at the end of its claim must have ended before another operation takes the row over.
            raise ConfigurationError(
                f"stale_after is {self.stale_after}: it must be more than twice operation_timeout, "
                f"which is {self.operation_timeout}"
            )

    def _check_policy_dirs(self) -> None:
        if self.policy_dirs and self.policy_file is None:
            raise ConfigurationError("policy_file is missing: without it, policy_dirs are not read")

    def _check_compute(self, given: Mapping[str, object]) -> None:
        if not any(name.startswith("compute.") for name in given):
            return
        options = self.compute_options
        if not options.get("url"):
            raise _missing("compute.url", _COMPUTE_URL)
        if ("token" in options) == ("auth_type" in options):
            raise ConfigurationError(
                "compute.url needs either compute.token or compute.auth_type, a keystoneauth plugin"
            )
        others = options.keys() - {"url", "token"}
        if "token" in options and others:
            raise ConfigurationError(f"compute.{min(others)} is not an option beside compute.token")
        if self.compute_insecure and self.compute_cafile is not None:
            raise ConfigurationError("compute.cafile is not an option beside compute.insecure: remove one of them")


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


# -- checks ----------------------------------------------------------------------------------------------


def _check_known(name: str) -> None:
    if name in NAMES or name.startswith(PREFIXES):
        return
    near = difflib.get_close_matches(name, [*NAMES, *PREFIXES], 1)
    hint = f"did you mean {near[0]}{'...' if near[0] in PREFIXES else ''}?" if near else f"there are {_all_names()}"
    raise ConfigurationError(f"{name} is not an option of os-volume-ext: {hint}")


def _all_names() -> str:
    return ", ".join([*NAMES, *(f"{prefix}*" for prefix in PREFIXES)])


def _check_no_options(name: str, options: Mapping[str, str]) -> None:
    if options:
        raise ConfigurationError(
            f"{name}.{min(options)} is not an option beside a {name} object: give it to the object itself"
        )


def _check_notifications(given: Mapping[str, object]) -> None:
    url = "notifications.transport_url"
    if any(name.startswith("notifications.") for name in given) and not given.get(url):
        raise _missing(url, _TRANSPORT_URL)
