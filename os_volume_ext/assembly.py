"""Construction: from the settings to connected objects, for the filter and for the commands."""

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
    """The objects of one filter; connections and threads are opened on first use."""

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
        """Return the resource that handles the extension's requests, in front of a compute API.

        :param app: the compute API.
        """
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
        """Return a reconciler."""
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
        """Return an adopter."""
        return Adopter(registry=self.registry, catalog=self.catalog, compute=self.compute, executor=self.executor)

    @cached_property
    def ensure_periodic_reconciler(self) -> PerProcess[PeriodicReconciler | None]:
        """Start this process's periodic reconciler on the first call, if ``reconcile_interval`` is set.

        Servers fork after the filter is made, and threads do not survive that: so call it with the first request.
        """
        return PerProcess(self._start_periodic_reconciler)

    def close(self) -> None:
        """Stop this process's periodic reconciler, send queued notifications and close the database's connections.

        Closing again does nothing.
        """
        periodic = self.ensure_periodic_reconciler.made()
        if periodic is not None:
            periodic.stop()
        self.observers.close()
        self.database.dispose()

    @cached_property
    def _versions(self) -> Versions:
        return Versions(self.settings.dialect, self.settings.max_microversion, **self.settings.overrides)

    def _start_periodic_reconciler(self) -> PeriodicReconciler | None:
        if not self.settings.reconcile_interval:
            return None
        periodic = PeriodicReconciler(
            reconciler=self.reconciler(), leases=Leases(self.database), interval=self.settings.reconcile_interval
        )
        periodic.start()
        return periodic


def assemble(settings: Settings, *, backend: Backend | None = None, catalog: VolumeCatalog | None = None) -> Assembly:
    """Construct and connect the objects that the settings describe.

    :param backend: a ready backend to use instead of the one that the settings name.
    :param catalog: a ready catalog, likewise.
    :raises ConfigurationError: if an option is invalid, or a plugin can't be loaded.
    """
    database = Database(settings.database_options)
    registry = Registry(database)
    backend = backend or make_backend(settings)
    check_host_is_known(settings, backend)
    observers = make_observers(settings)
    return Assembly(
        settings=settings,
        database=database,
        registry=registry,
        catalog=catalog or make_catalog(settings, database),
        backend=backend,
        compute=make_compute(settings),
        claims=Claims(
            registry=registry,
            operation_timeout=settings.operation_timeout,
            stale_after=settings.stale_after,
        ),
        executor=BackendExecutor(
            backend=backend,
            timeout=settings.operation_timeout,
            max_concurrent=settings.max_operations,
            observers=observers,
        ),
        observers=observers,
    )


def assemble_current(
    settings: Settings, *, backend: Backend | None = None, catalog: VolumeCatalog | None = None
) -> Assembly:
    """Assemble, and ensure that the database has the schema of this version.

    :param backend: a ready backend to use instead of the one that the settings name.
    :param catalog: a ready catalog, likewise.
    :raises ConfigurationError: if an option is invalid, a plugin can't be loaded, or the schema is not current, with
        the command that upgrades it.
    """
    assembly = assemble(settings, backend=backend, catalog=catalog)
    schema.ensure(assembly.database)
    return assembly


def make_backend(settings: Settings) -> Backend:
    """Load the backend.

    :raises ConfigurationError: if it can't be loaded, or an option is missing or invalid.
    """
    backend: Backend = _plugin("backend", "os_volume_ext.backends", settings.backend)(settings.backend_options)
    return backend


def check_host_is_known(settings: Settings, backend: Backend) -> None:
    """Check that the servers' hosts can be looked up if the backend needs them.

    :raises ConfigurationError: if they can't.
    """
    if backend.needs_host and not settings.compute_options:
        raise ConfigurationError("compute.url is missing: this backend must know servers' hosts, which users don't see")


def make_catalog(settings: Settings, database: Database) -> VolumeCatalog:
    """Load the volume catalog.

    :param database: the filter's, where a catalog may keep its volumes.
    :raises ConfigurationError: if it can't be loaded, or an option is missing or invalid.
    """
    plugin = _plugin("catalog", "os_volume_ext.catalogs", settings.catalog)
    catalog: VolumeCatalog = plugin(settings.catalog_options, database)
    return catalog


def make_compute(settings: Settings) -> RemoteComputeAPI | None:
    """Make the client of the compute API for requests with the operator's credentials.

    :returns: None if ``compute.*`` is not given.
    :raises ConfigurationError: if one of these options is invalid.
    """
    options = dict(settings.compute_options)
    if not options:
        return None
    url, token, auth_type = options.pop("url"), options.pop("token", None), options.pop("auth_type", None)
    source = token_source(auth_type, options) if auth_type else lambda: str(token)
    return RemoteComputeAPI(url=url, token=source, headers=settings.dialect.lookup_headers)


def make_observers(settings: Settings) -> Observers:
    """Make the observers.

    :raises ConfigurationError: if an option is invalid, or a package that it needs is missing.
    """
    observers: list[Observer] = [OperationLog()]
    if settings.metrics:
        observers.append(_observer("metrics", "metrics", "Metrics")())
    if settings.notifications_transport_url is not None:
        notifications = _observer("notifications.transport_url", "notifications", "Notifications")
        topics, publisher_id = settings.notifications_topics, settings.notifications_publisher_id
        observers.append(notifications(settings.notifications_transport_url, topics, publisher_id))
    return Observers(*observers)


def _observer(option: str, extra: str, name: str) -> Callable[..., Observer]:
    """Import an observer class whose module needs an extra."""
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
    except Exception as error:  # importing a plugin's module can raise anything
        raise ConfigurationError(f"{option} {name!r} can't be loaded: {error}") from error
    return driver
