"""The house put together: from settings to the objects that do the work, for the filter and for the commands."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from stevedore import DriverManager

from .api.controller import Controller
from .api.microversions import Versions
from .api.resource import Resource
from .attachments.adopt import Adopter
from .attachments.claims import Claims
from .attachments.executor import BackendExecutor
from .attachments.manager import AttachmentManager
from .attachments.periodic import PeriodicReconciler
from .attachments.reconcile import Reconciler
from .attachments.reservations import Reservations
from .backends.base import Backend
from .catalog.base import VolumeCatalog
from .compute.remote import RemoteComputeAPI
from .compute.tokens import token_source
from .compute.wrapped import ComputeAPI
from .errors import ConfigurationError
from .observers.base import Observer, Observers
from .observers.log import OperationLog
from .perprocess import PerProcess
from .policy import Policy
from .registry import schema
from .registry.attachments import Registry
from .registry.database import Database
from .registry.leases import Leases
from .settings import Settings
from .wsgi import WSGIApp


@dataclass(frozen=True)
class Assembly:
    """What a section's settings name; nothing of it is connected before it is used."""

    settings: Settings
    database: Database
    registry: Registry
    catalog: VolumeCatalog
    backend: Backend
    compute: RemoteComputeAPI | None
    claims: Claims
    executor: BackendExecutor
    observers: Observers

    def resource(self, app: WSGIApp) -> Resource:
        """Return what answers the requests on our paths, in front of a WSGI application."""
        settings = self.settings
        privileged = self.compute if self.backend.needs_host else None
        compute = ComputeAPI(
            app=app,
            headers=settings.dialect.lookup_headers,
            read_path=settings.server_read_path,
            privileged=privileged,
        )
        reservations = Reservations(
            compute=compute,
            registry=self.registry,
            claims=self.claims,
            max_attachments=settings.max_attachments,
            observers=self.observers,
        )
        manager = AttachmentManager(
            compute=compute,
            catalog=self.catalog,
            registry=self.registry,
            claims=self.claims,
            reservations=reservations,
            executor=self.executor,
            observers=self.observers,
        )
        return Resource(
            controller=Controller(manager=manager, max_limit=settings.max_limit),
            policy=Policy(settings.policy_file),
            versions=self._versions,
            max_body=settings.max_body,
        )

    def reconciler(self) -> Reconciler:
        """Return what makes registry and backend consistent."""
        return Reconciler(
            registry=self.registry,
            catalog=self.catalog,
            claims=self.claims,
            executor=self.executor,
            compute=self.compute,
            server_states=self._versions.newest.server_states,
            observers=self.observers,
        )

    def adopter(self) -> Adopter:
        """Return what adds rows for disks that servers already have."""
        return Adopter(registry=self.registry, catalog=self.catalog, compute=self.compute, executor=self.executor)

    @cached_property
    def background(self) -> PerProcess[None]:
        """Called, it sees that this process reconciles by itself, where ``reconcile_interval`` says so."""
        return PerProcess(self._start_reconciling)

    @cached_property
    def _versions(self) -> Versions:
        return Versions(self.settings.dialect, self.settings.max_microversion, **self.settings.overrides)

    def _start_reconciling(self) -> None:
        if self.settings.reconcile_interval:
            leases = Leases(self.database)
            PeriodicReconciler(
                reconciler=self.reconciler(), leases=leases, interval=self.settings.reconcile_interval
            ).start()


def assemble(settings: Settings) -> Assembly:
    """Put the house together.

    :raises ConfigurationError: if an option turns out wrong, or a plugin can't be loaded.
    """
    database = Database(settings.database_options)
    registry = Registry(database)
    backend = make_backend(settings)
    observers = make_observers(settings)
    return Assembly(
        settings,
        database,
        registry,
        make_catalog(settings, database),
        backend,
        make_compute(settings),
        Claims(
            registry=registry,
            operation_timeout=settings.operation_timeout,
            stale_after=settings.stale_after,
        ),
        BackendExecutor(
            backend=backend,
            timeout=settings.operation_timeout,
            max_concurrent=settings.max_operations,
            observers=observers,
        ),
        observers,
    )


def assemble_current(settings: Settings) -> Assembly:
    """The same, with a database that is sure to have the tables it should.

    :raises ConfigurationError: if it has not, with the command to run.
    """
    assembly = assemble(settings)
    schema.ensure(assembly.database)
    return assembly


def make_backend(settings: Settings) -> Backend:
    """Make what really attaches. :raises ConfigurationError: if it can't be loaded, or lacks an option."""
    backend: Backend = _plugin("backend", "os_volume_ext.backends", settings.backend)(settings.backend_options)
    if backend.needs_host and not settings.compute_options:
        raise ConfigurationError("compute.url is missing: this backend must know servers' hosts, which users don't see")
    return backend


def make_catalog(settings: Settings, database: Database) -> VolumeCatalog:
    """Make what knows the volumes. :raises ConfigurationError: if it can't be loaded, or lacks an option."""
    plugin = _plugin("catalog", "os_volume_ext.catalogs", settings.catalog)
    catalog: VolumeCatalog = plugin(settings.catalog_options, database)
    return catalog


def make_compute(settings: Settings) -> RemoteComputeAPI | None:
    """Make what asks the compute API outside a request; None where ``compute.*`` is not given.

    :raises ConfigurationError: if one of these options is wrong.
    """
    options = dict(settings.compute_options)
    if not options:
        return None
    url, token, auth_type = options.pop("url"), options.pop("token", None), options.pop("auth_type", None)
    source = token_source(auth_type, options) if auth_type else lambda: str(token)
    return RemoteComputeAPI(url=url, token=source, headers=settings.dialect.lookup_headers)


def make_observers(settings: Settings) -> Observers:
    """Make those who are told of operations. :raises ConfigurationError: if an option, or what it needs, is wrong."""
    observers: list[Observer] = [OperationLog()]
    if settings.metrics:
        observers.append(_observer("metrics", "metrics", "Metrics")())
    if settings.notifications_transport_url is not None:
        notifications = _observer("notifications.transport_url", "notifications", "Notifications")
        topics, publisher_id = settings.notifications_topics, settings.notifications_publisher_id
        observers.append(notifications(settings.notifications_transport_url, topics, publisher_id))
    return Observers(*observers)


def _observer(option: str, extra: str, name: str) -> Callable[..., Observer]:
    """Import a class whose module needs an extra."""
    try:
        observer: Callable[..., Observer] = getattr(import_module(f".observers.{extra}", __package__), name)
    except ImportError as error:
        raise ConfigurationError(f"{option} needs {error.name}: install os-volume-ext[{extra}]") from error
    return observer


def _plugin(option: str, group: str, name: str) -> Callable[..., Any]:
    known = sorted({point.name for point in entry_points(group=group)})
    if name not in known:
        raise ConfigurationError(f"{option} is {name!r}: installed are {', '.join(known)}")
    try:
        driver: Callable[..., Any] = DriverManager(group, name).driver
    except Exception as error:  # whatever a plugin's module does when it is imported
        raise ConfigurationError(f"{option} {name!r} can't be loaded: {error}") from error
    return driver
