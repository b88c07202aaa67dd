"""``os-volume-ext check``: what is right and what is wrong about our filters in a pipeline.

The database is left as it is; a backend does what it does when the server starts.
"""

import argparse
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cliff.lister import Lister
from oslo_config import cfg

from ..assembly import check_host_is_known, make_backend, make_catalog, make_compute, make_observers
from ..errors import BackendUnavailable, ComputeUnavailable, ConfigurationError
from ..policy import Policy
from ..registry import schema
from ..registry.database import Database
from ..settings import Settings, warn_of_hidden
from ..threadpool import DaemonThreadPool, is_done_within
from . import config
from .pipeline import Filter, Pipeline, Place, Section

LOG = logging.getLogger(__name__)

COLUMNS = ("filter", "what", "result", "details")
OK, WRONG = "ok", "wrong"
PATIENCE = 60  # seconds for what has no time limit among the options

Row = tuple[str, str, str, str]


class Check(Lister):  # type: ignore[misc]
    """Say what is right and what is wrong about our filters in a pipeline. The exit status is 1 if anything is wrong.

    Run it as the user that the compute API runs as.
    """

    wrong = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        config.add_paste(parser)
        parser.add_argument("--name", default="main", help="the application's section (default: main)")
        parser.add_argument(
            "--config-file",
            metavar="FILE",
            dest="config_files",
            action="append",
            default=[],
            help="what the compute API reads besides, such as nova.conf; may be given several times",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Row]]:
        _configure(parsed_args.config_files)
        pipeline = Pipeline(config.paste_file(parsed_args), config.variables(parsed_args))
        rows = list(_rows(pipeline.places(parsed_args.name)))
        self.wrong = any(result == WRONG for _, _, result, _ in rows)
        return COLUMNS, rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        status: int = super().run(parsed_args)
        return status or int(self.wrong)


def _configure(files: Sequence[str]) -> None:
    """Let the filters of others find what oslo.config gives them in the server."""
    try:
        if files:
            cfg.CONF(args=[], default_config_files=files, default_config_dirs=[])
    except cfg.Error as error:
        raise ConfigurationError(f"--config-file: {error}") from error


def _rows(places: Sequence[Place]) -> Iterator[Row]:
    for place in places:
        yield _row(place.section.name, "place", PATIENCE, _place, place)
    for section in {place.section.name: place.section for place in places}.values():
        yield from _section_rows(section)


def _section_rows(section: Section) -> Iterator[Row]:
    warn_of_hidden(section.global_conf)
    try:
        settings = Settings.parse(section.options)
        make_observers(settings)  # what they need is a matter of options too
    except ConfigurationError as error:
        yield section.name, "options", WRONG, str(error)
        return
    yield section.name, "options", OK, f"the dialect is {settings.dialect.name}"
    for what, check in _CHECKS.items():
        yield _row(section.name, what, settings.operation_timeout, check, settings)


def _row(name: str, what: str, seconds: float, check: Callable[[Any], str], subject: Any) -> Row:
    try:
        return name, what, OK, _within(seconds, check, subject)
    except (ConfigurationError, BackendUnavailable, ComputeUnavailable) as error:
        return name, what, WRONG, str(error)
    except Exception as error:  # whatever plugins and drivers raise
        LOG.info("checking the %s of %s failed", what, name, exc_info=error)
        return name, what, WRONG, f"{type(error).__name__}: {error}"


def _within(seconds: float, check: Callable[[Any], str], subject: Any) -> str:
    outcome = DaemonThreadPool().submit("os-volume-ext-check", check, subject)
    if not is_done_within(outcome, seconds):
        raise ConfigurationError(f"no answer within {seconds} seconds")
    return outcome.result()


def _place(place: Place) -> str:
    ours = place.section.name
    doubts: list[str] = []
    if found := _auth_filter(place.before, doubts):
        names = [*(each.name for each in place.before), ours, *(each.name for each in place.after), place.app]
        return f"{found} authenticates: {' '.join(names)}"
    if found := _auth_filter(place.after, doubts):
        raise ConfigurationError(f"{found}, which authenticates, stands behind it: put {ours} right before {place.app}")
    if doubts:
        reasons = "; ".join(doubts)
        raise ConfigurationError(
            f"it can't be seen whether an auth filter stands before it: {reasons}; does it need a --config-file?"
        )
    raise ConfigurationError(
        "no auth filter stands before it, so that it answers 401 to everybody: "
        "put one, such as keystonemiddleware's authtoken, before it"
    )


def _auth_filter(filters: Iterable[Filter], doubts: list[str]) -> str | None:
    for each in filters:
        try:
            if each.authenticates():
                return each.name
        except Exception as error:  # whatever the filters of others do
            doubts.append(f"{each.name}: {type(error).__name__}: {error}")
    return None


def _database(settings: Settings) -> str:
    database = Database(settings.database_options)
    found = schema.check(database)
    if found == schema.head():
        return f"{database} is at revision {found}"
    return f"{database}: the filter brings it from revision {found or 'none'} to {schema.head()} when it starts"


def _catalog(settings: Settings) -> str:
    make_catalog(settings, Database(settings.database_options))
    return settings.catalog


def _backend(settings: Settings) -> str:
    backend = make_backend(settings)
    check_host_is_known(settings, backend)
    backend.check()
    return settings.backend


def _policy(settings: Settings) -> str:
    """Make the policy. What its parser only logs, and takes for "never", is an error here."""
    complaints: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        complaints.append(record.getMessage())
        return False

    parser = logging.getLogger("oslo_policy._parser")
    parser.addFilter(note)
    try:
        Policy(settings.policy_file)
    finally:
        parser.removeFilter(note)
    if complaints:
        raise ConfigurationError(f"policy_file: {settings.policy_file}: {'; '.join(complaints)}")
    return settings.policy_file or "the default rules"


def _compute(settings: Settings) -> str:
    compute = make_compute(settings)
    if compute is None:
        return "compute.url is not set: reconcile goes by the backend's word alone"
    compute.check()
    return f"{settings.compute_options['url']} shows the servers of all projects"


_CHECKS = {
    "database": _database,
    "catalog": _catalog,
    "backend": _backend,
    "policy": _policy,
    "compute": _compute,
}
