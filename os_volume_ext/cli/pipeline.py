"""A pipeline of a paste file, and the positions of the os-volume-ext filters in it.

Other filters are made as the server makes them. The os-volume-ext filters are not, so that an invalid option does not
keep the rest from loading. Neither is the application, which may need the server's complete start-up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paste.deploy.loadwsgi import APP, FILTER, FILTER_APP, FILTER_WITH
from webob import Request

from ..errors import ConfigurationError
from ..filter import filter_factory
from ..wsgi import WSGIApp
from .loading import Loader

# The headers that an auth filter sets for a valid token, sent by a client that has none.
_FORGED = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "forged",
    "X-Project-Id": "forged",
    "X-Roles": "admin,member,reader",
}


@dataclass
class Traced:
    """A WSGI application, with the filters in front of it."""

    name: str
    """The name of the application behind all filters."""
    app: WSGIApp
    filters: Sequence["Filter"] = ()
    """The other filters, in the order in which they are called."""
    positions: Sequence["Position"] = ()
    """The positions of the os-volume-ext filters, also of those within a composite application."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Call the application."""
        return self.app(environ, start_response)


@dataclass(frozen=True)
class Filter:
    """A filter of another package."""

    name: str
    app: WSGIApp
    behind: Traced
    """The application that it wraps."""

    def authenticates(self) -> bool:
        """Return whether it refuses a client without a token, or removes the identity headers that it has forged.

        The application behind the filter is not called.

        :raises ValueError: if the filter responds itself, but with another status than an auth filter.
        :raises Exception: as the filter does.
        """
        passed: list[str | None] = []

        def recorder(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            passed.append(environ.get("HTTP_X_IDENTITY_STATUS"))
            return _no_content(environ, start_response)

        request = Request.blank("/servers/1/os-volume_attachments", headers=_FORGED)
        original, self.behind.app = self.behind.app, recorder
        try:
            status = request.get_response(self.app).status_int
        finally:
            self.behind.app = original
        if not passed and status not in (401, 403):
            raise ValueError(f"it responds with {status} to a client without a token")
        return "Confirmed" not in passed


@dataclass(frozen=True)
class Section:
    """The section of an os-volume-ext filter."""

    name: str
    global_conf: Mapping[str, str]
    options: Mapping[str, str]


@dataclass(frozen=True)
class Position:
    """The position of an os-volume-ext filter in a pipeline."""

    section: Section
    before: list[Filter]
    """The filters that are called before it."""
    after: Sequence[Filter]
    """The filters that are called after it."""
    app: str
    """The name of the application behind all filters."""


class Pipeline(Loader):
    """Loads from a paste file, and records the filters."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        """Read the file.

        :param path: the paste file.
        :param variables: those that the file may use besides its own.
        :raises ConfigurationError: if it is not a paste file.
        """
        super().__init__(path, variables)
        self._positions: list[Position] = []

    def positions(self, name: str) -> Sequence[Position]:
        """Load an application, and return the positions of the os-volume-ext filters.

        :param name: the application's section.
        :raises ConfigurationError: if it can't be loaded, or has no os-volume-ext filter.
        """
        self.load(name)
        if not self._positions:
            raise ConfigurationError(
                f"--name: {name} of {self.path} has no os-volume-ext filter: add the name of a section with "
                "use = egg:os-volume-ext to its pipeline, right before the application"
            )
        return self._positions

    def get_context(self, object_type: Any, name: str | None = None, global_conf: Any = None) -> Any:
        """Return PasteDeploy's context, changed so that the filters it makes are recorded."""
        context = super().get_context(object_type, name, global_conf)
        self._trace(context, name or "main")
        return context

    def _trace(self, context: Any, name: str) -> None:
        if context.object_type is FILTER_APP:
            self._trace(context.filter_context, name)
        elif context.object_type is FILTER_WITH:
            self._trace(context.next_context, name)
        elif context.object is filter_factory:
            context.create = lambda: partial(self._own_filter, Section(name, context.global_conf, context.local_conf))
        elif context.object_type is FILTER:
            context.create = partial(self._other_filter, context.create, name)
        elif context.protocol == "paste.app_factory":
            context.create = partial(Traced, name, _no_content)
        elif context.object_type is APP:
            context.create = partial(self._composite, context.create, name)

    def _own_filter(self, section: Section, app: WSGIApp) -> Traced:
        behind = _traced(app)
        position = Position(section, [], behind.filters, behind.name)
        self._positions.append(position)
        return Traced(behind.name, behind, behind.filters, (position, *behind.positions))

    def _other_filter(self, create: Callable[[], Any], name: str) -> Callable[[WSGIApp], Traced]:
        make = create()

        def apply(app: WSGIApp) -> Traced:
            behind = _traced(app)
            made = Filter(name, make(behind), behind)
            for position in behind.positions:
                position.before.insert(0, made)
            return Traced(behind.name, made.app, (made, *behind.filters), behind.positions)

        return apply

    def _composite(self, create: Callable[[], Any], name: str) -> Traced:
        first = len(self._positions)  # the composite loads its applications with this loader
        return Traced(name, create(), positions=self._positions[first:])


def _no_content(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def _traced(app: WSGIApp) -> Traced:
    return app if isinstance(app, Traced) else Traced("another application", app)
