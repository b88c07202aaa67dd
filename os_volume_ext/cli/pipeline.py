"""A pipeline of a paste file, and where in it our filters stand.

The filters of others are made as a server makes them. Ours are not, so that one with a wrong option keeps nothing
from being loaded; and the application is not: it may want all of its own start-up, and is no affair of ours.
"""

import configparser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import APP, FILTER, FILTER_APP, FILTER_WITH, ConfigLoader
from webob import Request

from ..errors import ConfigurationError
from ..filter import filter_factory
from ..wsgi import WSGIApp

# What an auth filter says of a caller with a valid token, sent by a client without one.
_FORGED = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "forged",
    "X-Project-Id": "forged",
    "X-Roles": "admin,member,reader",
}


@dataclass
class Traced:
    """A WSGI application, and what stands in it.

    ``name`` is that of the application behind all filters, ``filters`` are those of others before it, the first to
    be called first, and ``places`` those of our filters, within a composite application too.
    """

    name: str
    app: WSGIApp
    filters: Sequence["Filter"] = ()
    places: Sequence["Place"] = ()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Be that application."""
        return self.app(environ, start_response)


@dataclass(frozen=True)
class Filter:
    """Somebody else's filter, with what stands behind it."""

    name: str
    app: WSGIApp
    behind: Traced

    def authenticates(self) -> bool:
        """Say whether a client without a token is refused here, or can't pass for one with a token from here on.

        Nothing that stands behind the filter is called.

        :raises Exception: whatever the filter does; ValueError if it answers by itself, but not as an auth filter.
        """
        passed: list[str | None] = []

        def recorder(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            passed.append(environ.get("HTTP_X_IDENTITY_STATUS"))
            return _nothing(environ, start_response)

        request = Request.blank("/servers/1/os-volume_attachments", headers=_FORGED)
        usual, self.behind.app = self.behind.app, recorder
        try:
            status = request.get_response(self.app).status_int
        finally:
            self.behind.app = usual
        if not passed and status not in (401, 403):
            raise ValueError(f"it answers {status} to a client without a token")
        return "Confirmed" not in passed


@dataclass(frozen=True)
class Section:
    """A filter section of ours."""

    name: str
    global_conf: Mapping[str, str]
    options: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Where a filter of ours stands: behind which of others, before which, and before which application."""

    section: Section
    before: list[Filter]
    after: Sequence[Filter]
    app: str


class Pipeline(ConfigLoader):  # type: ignore[misc]
    """Loads from a paste file, and notes what it makes."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        """Read the file.

        :param variables: what it may refer to besides what it says itself.
        :raises ConfigurationError: if it is no paste file.
        """
        try:
            super().__init__(str(path))
        except configparser.Error as error:
            raise ConfigurationError(f"--paste: {path} is no paste file: {str(error).splitlines()[0]}") from error
        self.update_defaults(variables, overwrite=False)
        self._places: list[Place] = []

    def places(self, name: str) -> Sequence[Place]:
        """Load an application, and say where our filters stand.

        :raises ConfigurationError: if it can't be loaded, or none of ours is there.
        """
        self.get_app(name)
        if not self._places:
            raise ConfigurationError(
                f"--name: {name} has no filter of ours: put the name of a section with use = egg:os-volume-ext "
                "into its pipeline, right before the application"
            )
        return self._places

    def get_context(self, object_type: Any, name: str | None = None, global_conf: Any = None) -> Any:
        """Do what PasteDeploy does, and note what is made of it."""
        with _errors_of(name or "main"):
            context = super().get_context(object_type, name, global_conf)
        self._trace(context, name or "main")
        return context

    def _trace(self, context: Any, name: str) -> None:
        if context.object_type is FILTER_APP:
            self._trace(context.filter_context, name)
        elif context.object_type is FILTER_WITH:
            self._trace(context.next_context, name)
        elif context.object is filter_factory:
            context.create = lambda: partial(self._ours, Section(name, context.global_conf, context.local_conf))
        elif context.object_type is FILTER:
            context.create = partial(self._filter, context, name)
        elif context.protocol == "paste.app_factory":
            context.create = partial(Traced, name, _nothing)
        elif context.object_type is APP:
            context.create = partial(self._composite, context, name)

    def _ours(self, section: Section, app: WSGIApp) -> Traced:
        behind = _traced(app)
        place = Place(section, [], behind.filters, behind.name)
        self._places.append(place)
        return Traced(behind.name, behind, behind.filters, (place, *behind.places))

    def _filter(self, context: Any, name: str) -> Callable[[WSGIApp], Traced]:
        with _errors_of(name):
            make = context.object_type.invoke(context)

        def apply(app: WSGIApp) -> Traced:
            behind = _traced(app)
            with _errors_of(name):
                made = Filter(name, make(behind), behind)
            for place in behind.places:
                place.before.insert(0, made)
            return Traced(behind.name, made.app, (made, *behind.filters), behind.places)

        return apply

    def _composite(self, context: Any, name: str) -> Traced:
        first = len(self._places)  # it asks this loader for its applications, meanwhile
        with _errors_of(name):
            app = context.object_type.invoke(context)
        return Traced(name, app, places=self._places[first:])


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def _traced(app: WSGIApp) -> Traced:
    return app if isinstance(app, Traced) else Traced("another application", app)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Say whose an error is: the innermost one's."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the factories of others do
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"{name} can't be loaded: {reason}") from error
