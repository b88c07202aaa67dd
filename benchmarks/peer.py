"""The cost of showing one attachment in another framework, against the filter."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import show
from .harness import SERVER, Sides, harness, same_response, send_request
from .measure import ROUNDS, Finding, measure
from .peers import flask_orm
from .rows import fill, volume_ids

DIALECT = "openstack"


def run() -> Iterator[Finding]:
    with sides() as (ours, peer):
        yield Finding("show, Flask + ORM, against ours", *measure(ours, peer, rounds=2 * ROUNDS), 6, is_minimum=True)


@contextmanager
def sides() -> Iterator[Sides]:
    """Provide the filter and the application in Flask."""
    request = show.show_request(DIALECT)
    with harness(DIALECT) as (filtered, app, path):
        fill(path, ((each, SERVER[DIALECT]) for each in volume_ids(DIALECT, show.ROWS)))
        flask = flask_orm.make_app(app, f"sqlite:///{path}")
        ours, peer = (lambda app=app: send_request(app, dict(request), "200 OK") for app in (filtered, flask))
        same_response(parsed(ours), parsed(peer))
        yield ours, peer


def parsed(send: Callable[[], bytes]) -> Callable[[], object]:
    """Return what the body contains, however it is written."""
    return lambda: json.loads(send())
