"""The wiring: builds the objects that do the work from the settings, for the filter and for the commands."""

import logging
from collections.abc import Callable
from importlib import import_module

from . import plugins
from .api.controller import Controller
from .api.microversions import Versions
from .api.resource import Resource
from .attachments.adopt import Adopter
from .attachments.claims import Claims
from .attachments.executor import BackendExecutor
from .attachments.force_detach import ForceDetacher
from .attachments.gone import GoneServers
from .attachments.manager import AttachmentManager
from .attachments.periodic import PeriodicReconciler
from .attachments.reconcile import Reconciler
from .attachments.remove import Remover
from .attachments.reservations import Reservations
from .backends.base import Backend
from .catalog.base import VolumeCatalog
from .catalog.checked import CheckedCatalog
from .compute.remote import RemoteComputeAPI
from .compute.wrapped import ComputeAPI
from .errors import ConfigurationError
from .observers.base import NO_OBSERVERS, Observer, Observers
from .observers.log import OperationLog
from .perprocess import PerProcess
from .policy import Policy
from .records import make_catalog
from .registry import schema, server
from .registry.attachments import Registry
from .registry.database import Database
from .registry.leases import Leases
from .settings import Settings
from .wsgi import WSGIApp

LOG = logging.getLogger(__name__)


class Assembly:
    """The objects that the settings of one section name. Nothing connects before it is used, and ``close`` ends it."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        catalog: VolumeCatalog,
        backend: Backend,
        compute: RemoteComputeAPI | None,
        observers: Observers,
    ) -> None:
        """Build what the API and the commands share.

        :param compute: None where ``compute.url`` is not set.
        """
        self.settings = settings
        self.database = database
        self.catalog = CheckedCatalog(catalog)
        self.backend = backend
        self.compute = compute
        self.observers = observers
        self.registry = Registry(database)
        self.executor = BackendExecutor(
            backend=backend,
            timeout=settings.operation_timeout,
            max_concurrent=settings.max_operations,
            observers=observers,
        )
        self.start_periodic_reconciler = PerProcess(self._start_periodic_reconciler)
        """Start the thread of this process that reconciles, on the first call and if ``reconcile_interval`` is set."""
        self._claims = Claims(
            registry=self.registry,
            executor=self.executor,
            operation_timeout=settings.operation_timeout,
            stale_after=settings.stale_after,
        )
        self._gone = GoneServers(compute=compute, executor=self.executor)
        self._versions = Versions(settings.dialect, settings.max_microversion, **settings.overrides)
        self._close_observers = PerProcess(observers.close)

    def resource(self, app: WSGIApp) -> Resource:
        """Return the handler of the requests to our paths.

        :param app: the wrapped WSGI application.
        """
        settings = self.settings
        compute = ComputeAPI(
            app=app,
            headers=settings.dialect.lookup_headers,
            read_path=settings.server_read_path,
            privileged=self.compute if self.backend.needs_host else None,
        )
        reservations = Reservations(
            compute=compute,
            registry=self.registry,
            claims=self._claims,
            executor=self.executor,
            gone=self._gone,
            max_attachments=settings.max_attachments,
            observers=self.observers,
        )
        manager = AttachmentManager(
            compute=compute,
            catalog=self.catalog,
            registry=self.registry,
            claims=self._claims,
            reservations=reservations,
            gone=self._gone,
            observers=self.observers,
        )
        return Resource(
            controller=Controller(manager=manager, max_limit=settings.max_limit),
            policy=Policy(settings.policy_file, settings.policy_dirs),
            versions=self._versions,
            max_body=settings.max_body,
        )

    def reconciler(self) -> Reconciler:
        """Return a reconciler, which makes registry and backend consistent."""
        return Reconciler(
            registry=self.registry,
            catalog=self.catalog,
            claims=self._claims,
            executor=self.executor,
            compute=self.compute,
            constraints=self._versions.newest.constraints,
            observers=self.observers,
        )

    def adopter(self) -> Adopter:
        """Return an adopter, which adds rows for disks that servers already have."""
        return Adopter(registry=self.registry, catalog=self.catalog, compute=self.compute, executor=self.executor)

    def remover(self) -> Remover:
        """Return a remover, which removes rows of disks that servers do not have."""
        return Remover(registry=self.registry, claims=self._claims, executor=self.executor, compute=self.compute)

    def force_detacher(self) -> ForceDetacher:
        """Return a force-detacher, which frees volumes of servers whose hosts are lost."""
        return ForceDetacher(
            registry=self.registry,
            claims=self._claims,
            executor=self.executor,
            compute=self.compute,
            observers=self.observers,
        )

    def close(self) -> None:
        """Stop the threads and close the connections that were opened in this process; it may be called again.

        The thread that reconciles completes its current row, and notifications that wait are sent. Idle threads of
        the executor end by themselves. The wrapped application and a backend object stay open.
        """
        reconciler = self.start_periodic_reconciler.made()
        if reconciler is not None:
            reconciler.stop()
        self._close_observers()
        self.database.dispose()

    def _start_periodic_reconciler(self) -> PeriodicReconciler | None:
        if not self.settings.reconcile_interval:
            return None
        reconciler = PeriodicReconciler(
            reconciler=self.reconciler(), leases=Leases(self.database), interval=self.settings.reconcile_interval
        )
        reconciler.start()
        return reconciler


def assemble(settings: Settings, *, backend: Backend | None = None, catalog: VolumeCatalog | None = None) -> Assembly:
    """Build an assembly.

    :param backend: a ready object; None for the plugin that the settings name.
    :param catalog: the same.
    :raises ConfigurationError: if an option is invalid, or a plugin can't be loaded.
    """
    database = Database(settings.database_options)
    return Assembly(
        settings,
        database=database,
        catalog=make_catalog(settings, database) if catalog is None else catalog,
        backend=make_backend(settings, backend),
        compute=make_compute(settings),
        observers=make_observers(settings),
    )


def assemble_read_only(settings: Settings) -> Assembly:
    """Build an assembly for reading: no SQLite file is upgraded, the backend is not prepared, nothing is observed.

    :raises ConfigurationError: as ``assemble`` does, or if the schema is not current, with the command to run.
    """
    database = Database(settings.database_options, read_only=True)
    assembly = Assembly(
        settings,
        database=database,
        catalog=make_catalog(settings, database),
        backend=make_backend(settings),
        compute=make_compute(settings),
        observers=NO_OBSERVERS,  # metrics of several processes would be files
    )
    schema.ensure(database)
    _warn_of_problems(assembly)
    return assembly


def assemble_current(
    settings: Settings, *, backend: Backend | None = None, catalog: VolumeCatalog | None = None
) -> Assembly:
    """Build an assembly that is ready for use: its backend is prepared, and its database has the current schema.

    :param backend: as for ``assemble``.
    :param catalog: as for ``assemble``.
    :raises ConfigurationError: as ``assemble`` does, if the backend can't be prepared, or if the schema is not current,
        with the command to run.
    """
    assembly = assemble(settings, backend=backend, catalog=catalog)
    schema.ensure(assembly.database)
    _warn_of_problems(assembly)
    is_new = assembly.registry.is_empty()
    assembly.database.dispose()
    if is_new:  # else what is missing has been there, such as on a file system that is not mounted
        assembly.backend.prepare()
    return assembly


def _warn_of_problems(assembly: Assembly) -> None:
    for problem in server.problems(assembly.database, assembly.settings.clock_margin):
        LOG.warning("database.url: %s", problem)


def make_backend(settings: Settings, backend: Backend | None = None) -> Backend:
    """Load the backend that the settings name, and check that it can work with them.

    :param backend: a ready object to check instead.
    :raises ConfigurationError: if it can't be loaded, one of its options is invalid, or it needs ``compute.url``.
    """
    if backend is None:
        backend = plugins.load("backend", settings.backend, Backend).make(settings.backend_options)
    if backend.needs_host and not settings.compute_options:
        raise ConfigurationError("compute.url is missing: this backend must know servers' hosts, which users don't see")
    return backend


def make_compute(settings: Settings) -> RemoteComputeAPI | None:
    """Return the compute API at ``compute.url``; None where it is not set.

    :raises ConfigurationError: if one of the ``compute.*`` options is invalid.
    """
    options = dict(settings.compute_options)
    if not options:
        return None
    # Not before, since requests takes a tenth of the time in which a filter starts.
    from .outbound.client import Client
    from .outbound.tokens import TokenSource

    url, token, auth_type = options.pop("url"), options.pop("token", None), options.pop("auth_type", None)
    client = Client(
        prefix="compute.",
        cafile=settings.compute_cafile,
        insecure=settings.compute_insecure,
        proxies_from_environment=settings.compute_proxies_from_environment,
    )
    source = TokenSource("compute.", "keystone", auth_type, options, client).token if auth_type else lambda: str(token)
    return RemoteComputeAPI(
        url=url,
        token=source,
        headers=settings.dialect.lookup_headers,
        client=client,
        max_concurrent=settings.max_operations,
    )


def make_observers(settings: Settings) -> Observers:
    """Return the observers of operations that the settings name.

    :raises ConfigurationError: if an option is invalid, or a package that it needs is not installed.
    """
    observers: list[Observer] = [OperationLog()]
    if settings.metrics:
        observers.append(_observer("metrics", "metrics", "Metrics")())
    if settings.notifications_transport_url is not None:
        notifications = _observer("notifications.transport_url", "notifications", "Notifications")
        topics, publisher_id = ",".join(settings.notifications_topics), settings.notifications_publisher_id
        observers.append(notifications(settings.notifications_transport_url, topics, publisher_id))
    return Observers(*observers)


def _observer(option: str, extra: str, name: str) -> Callable[..., Observer]:
    """Import a class whose module needs an extra."""
    try:
        observer: Callable[..., Observer] = getattr(import_module(f".observers.{extra}", __package__), name)
    except ImportError as error:
        raise ConfigurationError(f"{option} needs {error.name}: install os-volume-ext[{extra}]") from error
    return observer
