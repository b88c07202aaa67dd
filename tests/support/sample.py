"""The sample of ``etc/api-paste.ini``, loaded into this process, and its state."""

import configparser
import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import ConfigLoader
from webtest import TestApp

from os_volume_ext.backends.base import Backend
from os_volume_ext.demo import block_storage
from os_volume_ext.filter import Filter, filter_factory, make_filter
from os_volume_ext.wsgi import WSGIApp
from tests.support.dialects import DIALECTS
from tests.support.paths import PASTE

_opened: list[Any] = []
_backends: list[type[Backend]] = []


class _Loader(ConfigLoader):
    """Loads a paste file, and remembers what has to be closed."""

    def get_context(self, object_type: Any, name: str | None = None, global_conf: Any = None) -> Any:
        context = super().get_context(object_type, name, global_conf)
        if context.object is filter_factory:
            context.create = lambda: lambda app: close_later(_make_filter(app, context.global_conf, context.local_conf))
        elif context.object is block_storage.app_factory:
            make = context.object
            context.create = lambda: close_later(make(context.global_conf, **context.local_conf))
        return context


def _make_filter(app: WSGIApp, global_conf: Mapping[str, str], options: Mapping[str, str]) -> Filter:
    if not _backends:
        return filter_factory(global_conf, **options)(app)
    own = {name: value for name, value in options.items() if name.startswith("backend.")}
    others = {name: value for name, value in options.items() if name not in {*own, "backend"}}
    timeout = {"operation_timeout": options.get("operation_timeout", "60")}
    backend = _backends[-1]({name.removeprefix("backend."): value for name, value in own.items()} | timeout)
    return make_filter(app, backend=backend, **others)


def close_later(app: Any) -> Any:
    """Let ``closing_apps`` close an application, and return it."""
    _opened.append(app)
    return app


@contextlib.contextmanager
def closing_apps() -> Iterator[None]:
    """Close at the end what ``load`` loads meanwhile: the process that it is made for would end."""
    first = len(_opened)
    try:
        yield
    finally:
        for app in _opened[first:]:
            app.close()
        del _opened[first:]


@contextlib.contextmanager
def backend_class(backend: type[Backend]) -> Iterator[None]:
    """Let ``load`` give backends of this class to the filters."""
    _backends.append(backend)
    try:
        yield
    finally:
        _backends.pop()


def load(paste: Path, var: Path, **variables: str) -> TestApp:
    """Load the sample of a paste file.

    :param var: the directory of its state.
    :param variables: others that the file uses.
    """
    loader = _Loader(str(paste))
    loader.update_defaults({"var": str(var), "port": "8774", **variables}, overwrite=False)
    return TestApp(loader.get_app("main"))


def write_paste(directory: Path, urls: Mapping[str, str], without: str = "", **options: str) -> Path:
    """Write a copy of the sample's paste file, with these options in the section of each dialect.

    ``{base}`` in a value is the path of the section's dialect. Without ``compute.url`` among the options there is none:
    the sample's names a server that does not run.

    :param urls: of the databases, by dialect.
    :param without: a filter to leave out of the pipelines.
    """
    parser = configparser.RawConfigParser()
    parser.read(PASTE)
    for dialect in DIALECTS.values():
        pipeline = f"pipeline:{dialect.name}"
        kept = [name for name in parser.get(pipeline, "pipeline").split() if name != without]
        parser.set(pipeline, "pipeline", " ".join(kept))
        if "compute.url" not in options:
            parser.remove_option(f"filter:volumes_{dialect.name}", "compute.url")
            parser.remove_option(f"filter:volumes_{dialect.name}", "compute.token")
        for name, value in ({"database.url": urls[dialect.name].replace("%", "%%")} | options).items():
            parser.set(f"filter:volumes_{dialect.name}", name, value.replace("{base}", dialect.base))
    path = directory / "api-paste.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


@dataclass(frozen=True)
class State:
    """The directory with the sample's state, and the URL of each dialect's database."""

    var: Path
    urls: Mapping[str, str]

    @contextlib.contextmanager
    def copy(self, database_kind: Any, var: Path, names: Collection[str] = tuple(DIALECTS)) -> "Iterator[State]":
        """Give a copy. :param names: dialects whose databases are copied; the others are shared."""
        shutil.copytree(self.var, var, symlinks=True, ignore=shutil.ignore_patterns("*.db*"))
        with contextlib.ExitStack() as stack:
            copies = {
                name: stack.enter_context(database_kind.copy(self.urls[name], var / f"{name}.db")) for name in names
            }
            yield State(var, {**self.urls, **copies})
