"""``os-volume-ext check``: check the os-volume-ext filters in a pipeline.

Nothing is changed or created: neither the database nor what a backend needs.
"""

import argparse
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cliff.lister import Lister
from oslo_config import cfg

from .. import plugins
from ..assembly import make_backend, make_compute, make_observers
from ..backends.base import Backend
from ..catalog.base import TIME_LIMIT, VolumeCatalog
from ..errors import (
    BackendUnavailable,
    CatalogUnavailable,
    ComputeUnavailable,
    ConfigurationError,
    RegistryUnavailable,
)
from ..policy import read_rules, rule_files, rule_sources
from ..records import make_catalog
from ..registry import schema, server
from ..registry.database import Database
from ..settings import Settings, warn_of_hidden
from ..threadpool import DaemonThreadPool
from . import config
from .pipeline import Filter, Pipeline, Position, Section

LOG = logging.getLogger(__name__)

COLUMNS = ("filter", "check", "result", "details")
OK, WRONG = "ok", "wrong"
POSITION_TIMEOUT = 60  # seconds; a filter that has no position yet has no operation_timeout either

_TIMEOUT_ADVICE = {
    "position": "check that the services respond which the other filters of the pipeline call",
    "catalog": "check that the service or the storage responds which the catalog.* options name",
}
_COMPUTE_ADVICE = {
    401: "correct compute.token, or the compute.* options of the user, such as compute.password",
    403: "give the user of compute.* a role that may list the servers of all projects, such as admin",
    404: "correct compute.url: it must be the root of a version of the compute API, such as http://controller:8774/v2.1",
}

Row = tuple[str, str, str, str]


class Check(config.OwnCommand, Lister):  # type: ignore[misc]
    """Check the os-volume-ext filters in a pipeline. The exit status is 1 if anything is wrong.

    Run it as the user that the compute API runs as.
    """

    wrong = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        config.add_paste(parser)
        parser.add_argument(
            "--name", action=config.Text, default="main", help="the application's section (default: main)"
        )
        parser.add_argument(
            "--config-file",
            metavar="FILE",
            dest="config_files",
            action="append",
            default=[],
            help="a configuration file of the compute API, such as nova.conf; may be given several times",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Row]]:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # metrics would create files there when they are imported
        _configure(parsed_args.config_files)
        pipeline = Pipeline(config.paste_file(parsed_args), config.variables(parsed_args))
        rows = list(_rows(pipeline.positions(parsed_args.name)))
        self.wrong = any(result == WRONG for _, _, result, _ in rows)
        return COLUMNS, rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        status: int = super().run(parsed_args)
        return status or int(self.wrong)


def _configure(files: Sequence[str]) -> None:
    """Give other filters the oslo.config options that they have in the server."""
    for file in files:
        config.check_text("--config-file", file, config.MAX_PATH)
    try:
        if files:
            cfg.CONF(args=[], default_config_files=files, default_config_dirs=[])
    except cfg.Error as error:
        raise ConfigurationError(f"--config-file: {error}") from error


def _rows(positions: Sequence[Position]) -> Iterator[Row]:
    for position in positions:
        yield _row(position.section.name, "position", POSITION_TIMEOUT, _position, position)
    for section in {position.section.name: position.section for position in positions}.values():
        yield from _section_rows(section)


def _section_rows(section: Section) -> Iterator[Row]:
    warn_of_hidden(section.global_conf)
    try:
        settings = Settings.parse(section.options)
        make_observers(settings)  # their packages and transports are chosen by options too
    except ConfigurationError as error:
        yield section.name, "options", WRONG, str(error)
        return
    yield section.name, "options", OK, f"the dialect is {settings.dialect.name}"
    for name, check in _CHECKS.items():
        timeout = TIME_LIMIT if name == "catalog" else settings.operation_timeout
        yield _row(section.name, name, timeout, check, settings)


def _row(section: str, name: str, timeout: float, check: Callable[[Any], str], subject: Any) -> Row:
    try:
        return section, name, OK, _call(name, timeout, check, subject)
    except ConfigurationError as error:
        return section, name, WRONG, str(error)  # it has its remedy
    except BackendUnavailable as error:
        return section, name, WRONG, f"{error}: correct the backend.* options, or start what the backend works with"
    except CatalogUnavailable as error:
        return section, name, WRONG, f"{error}: correct the catalog.* options, or start what the catalog works with"
    except ComputeUnavailable as error:
        advice = _COMPUTE_ADVICE.get(error.status or 0, "correct the compute.* options, or start the compute API")
        return section, name, WRONG, f"{error}: {advice}"
    except RegistryUnavailable as error:
        return section, name, WRONG, f"{error}: see the database server's log"
    except Exception as error:  # plugins and drivers can raise anything
        LOG.info("the check %s of %s failed", name, section, exc_info=error)
        return (
            section,
            name,
            WRONG,
            f"{type(error).__name__}: {error}: run os-volume-ext -vv check to see the traceback",
        )


def _call(name: str, timeout: float, check: Callable[[Any], str], subject: Any) -> str:
    call = DaemonThreadPool().submit("os-volume-ext-check", check, subject)
    if not call.is_done_within(timeout):
        remedy = _TIMEOUT_ADVICE.get(name, "check that the services in its options respond, or raise operation_timeout")
        raise ConfigurationError(f"no response within {timeout} seconds: {remedy}")
    return call.result()


def _position(position: Position) -> str:
    name, app = position.section.name, position.app
    errors: list[str] = []
    if found := _auth_filter(position.before, errors):
        names = [*(each.name for each in position.before), name, *(each.name for each in position.after), app]
        return f"{found} authenticates: {' '.join(names)}"
    if found := _auth_filter(position.after, errors):
        raise ConfigurationError(f"the auth filter {found} comes after {name}: move {name} right before {app}")
    if errors:
        raise ConfigurationError(
            f"cannot tell whether an auth filter comes before {name}: {'; '.join(errors)}; pass its --config-file"
        )
    raise ConfigurationError(
        f"no auth filter comes before {name}, so all requests get 401: "
        "put one, such as keystonemiddleware's authtoken, before it"
    )


def _auth_filter(filters: Iterable[Filter], errors: list[str]) -> str | None:
    """Return the name of the first filter that authenticates, and add the errors of those that fail to a list."""
    for each in filters:
        try:
            if each.authenticates():
                return each.name
        except Exception as error:  # other filters can raise anything
            errors.append(f"{each.name}: {type(error).__name__}: {error}")
    return None


def _database(settings: Settings) -> str:
    database = Database(settings.database_options, read_only=True)
    found = schema.check(database)
    _check_server(database, settings.clock_margin)
    if found == schema.HEAD:
        return f"{database} is at revision {found}"
    return f"{database}: the filter will upgrade it from revision {found or 'none'} to {schema.HEAD} at start-up"


def _check_server(database: Database, margin: float) -> None:
    try:
        problems = list(server.problems(database, margin))
    finally:
        database.dispose()
    if problems:
        raise ConfigurationError("; ".join(problems))


def _catalog(settings: Settings) -> str:
    plugin = plugins.load("catalog", settings.catalog, VolumeCatalog)
    database = Database(settings.database_options, read_only=True)
    catalog = make_catalog(settings, database)
    try:
        _check_catalog(catalog, database)
    finally:
        database.dispose()
    return plugin.describe(catalog)


def _check_catalog(catalog: VolumeCatalog, database: Database) -> None:
    try:
        catalog.check()
    except RegistryUnavailable:
        if schema.current(database) == schema.HEAD:
            raise
        LOG.info("the catalog's tables are those of the registry, and the check of the database reports them")


def _backend(settings: Settings) -> str:
    plugin = plugins.load("backend", settings.backend, Backend)
    backend = make_backend(settings)
    backend.check()
    return plugin.describe(backend)


def _policy(settings: Settings) -> str:
    """Read the policy, and fail on syntax errors, which its parser only logs: such a rule is never true."""
    errors: list[str] = []
    origin = ""
    sources = rule_sources(settings.policy_file, settings.policy_dirs)

    def collect(record: logging.LogRecord) -> bool:
        errors.append(f"{origin}: {record.getMessage()}")
        return False

    # There is no public way to get at these errors; test_cli_check fails if the logger's name changes.
    parser = logging.getLogger("oslo_policy._parser")
    parser.addFilter(collect)
    try:
        for option, path in rule_files(sources):
            origin = f"{option}: {path}"
            read_rules(option, path)
    finally:
        parser.removeFilter(collect)
    if errors:
        raise ConfigurationError(f"{'; '.join(errors)}: correct the rules in the file")
    return ", ".join(str(path) for _, path in rule_files(sources)) or "the default rules"


def _compute(settings: Settings) -> str:
    compute = make_compute(settings)
    if compute is None:
        return "compute.url is not set: reconcile relies on the backend alone"
    compute.check()
    return f"{compute} shows the servers of all projects"


_CHECKS = {
    "database": _database,
    "catalog": _catalog,
    "backend": _backend,
    "policy": _policy,
    "compute": _compute,
}
