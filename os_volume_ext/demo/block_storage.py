"""A read-only block-storage API like Cinder v3: the requests that clients send before and after they attach a volume.

The volumes are those of a filter's catalog, and their attachments those of its registry.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webob import Request, Response

from ..catalog.base import VolumeCatalog
from ..catalog.checked import CheckedCatalog
from ..catalog.sql import SQLCatalog
from ..context import operator_context
from ..errors import CatalogUnavailable, RegistryUnavailable, VolumeNotFound
from ..models import ATTACHING, Attachment, Volume
from ..records import make_catalog
from ..registry import schema
from ..registry.attachments import Registry
from ..registry.database import Database
from ..settings import Settings
from . import options
from .callers import caller_of
from .data import VOLUME_API
from .http import Application, Refused, Routes, fault_response, json_response, path_of, version_document
from .paging import page
from .section import options_of


def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> "BlockStorageApplication":
    """Make the application for PasteDeploy; the option ``filter`` is the section of the filter with the volumes.

    :raises ConfigurationError: if the option is missing or another is given, with the option's name; if there is no
        such section, or one of its options is invalid.
    """
    section = options.read(local_conf, filter=None)["filter"]
    with options_of(global_conf, "filter", section) as given:
        settings = Settings.parse(given)
        database = Database(settings.database_options)
        schema.ensure(database)
        return BlockStorageApplication(database, make_catalog(settings, database))


class BlockStorageApplication(Application):
    """The block-storage API."""

    def __init__(self, database: Database, catalog: VolumeCatalog) -> None:
        """Make the application.

        :param database: the filter's, with the attachments.
        :param catalog: the filter's, with the volumes; only those of the sql catalog can be listed.
        """
        self._database = database
        self._catalog = catalog
        self._registry = Registry(database)
        self._routes = Routes(
            {
                "": {"GET": _list_versions},
                "/{project_id}/volumes": {"GET": self._list},
                "/{project_id}/volumes/detail": {"GET": self._list_in_detail},
                "/{project_id}/volumes/{volume_id}": {"GET": self._show},
            }
        )

    def close(self) -> None:
        """Close the database's connections."""
        self._database.dispose()

    def respond(self, request: Request) -> Response:
        """Return the response.

        :raises Refused: for an error.
        """
        return self._routes.find(request.method, path_of(request))(request)

    def fault(self, refused: Refused) -> Response:
        """Return the response for an error."""
        return fault_response(refused)

    def _list(self, request: Request, project_id: str) -> Response:
        documents, links = self._page(request, project_id)
        summaries = [{name: document[name] for name in ("id", "name", "links")} for document in documents]
        return json_response({"volumes": summaries, **links})

    def _list_in_detail(self, request: Request, project_id: str) -> Response:
        documents, links = self._page(request, project_id)
        return json_response({"volumes": documents, **links})

    def _page(self, request: Request, project_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        caller = caller_of(request)
        caller.refuse_path_of(project_id)
        all_projects = caller.admin and request.GET.get("all_tenants", "0").lower() in options.TRUE
        project = None if all_projects else project_id
        found, links = page(request, self._listed(project) if not request.GET.get("name") else [])  # none has a name
        rows = self._registry.find(project_id=project)
        return _documents(request, found, rows), {"volumes_links": links} if links else {}

    def _listed(self, project_id: str | None) -> Sequence[Volume]:
        if not isinstance(self._catalog, SQLCatalog):
            raise Refused(501, "Volumes of this catalog can't be listed; request one by its id.")
        return self._catalog.list_volumes(project_id)

    def _show(self, request: Request, project_id: str, volume_id: str) -> Response:
        caller = caller_of(request)
        caller.refuse_path_of(project_id)
        try:
            volume = CheckedCatalog(self._catalog).volume(operator_context(), volume_id)
        except VolumeNotFound as error:
            raise Refused(404, str(error)) from error
        except (CatalogUnavailable, RegistryUnavailable) as error:
            raise Refused(503, "The catalog is not available. Retry later.") from error
        if not caller.sees(volume.project_id):
            raise Refused(404, str(VolumeNotFound(volume_id)))
        [document] = _documents(request, [volume], self._registry.of_volume(volume.id))
        return json_response({"volume": document})


def _list_versions(request: Request) -> Response:
    document = version_document(VOLUME_API, request.application_url, microversions=True)
    return json_response({"versions": [document]})


def _documents(request: Request, volumes: Iterable[Volume], rows: Iterable[Attachment]) -> list[dict[str, Any]]:
    by_volume: dict[str, list[Attachment]] = defaultdict(list)
    for row in rows:
        by_volume[row.volume_id].append(row)
    return [_document(request, volume, by_volume[volume.id]) for volume in volumes]


def _document(request: Request, volume: Volume, rows: Sequence[Attachment]) -> dict[str, Any]:
    """Return a volume as JSON. The catalog has no sizes, but clients need one."""
    href = f"{request.application_url}/{volume.project_id}/volumes/{volume.id}"
    return {
        "id": volume.id,
        "name": "",
        "status": _status(rows),
        "size": 0,
        "multiattach": volume.multiattach,
        "metadata": {},
        "os-vol-tenant-attr:tenant_id": volume.project_id,
        "attachments": [_attachment(row) for row in rows if row.state != ATTACHING],
        "links": [{"rel": "self", "href": href}, {"rel": "bookmark", "href": href}],
    }


def _status(rows: Sequence[Attachment]) -> str:
    """Return Cinder's status; its attaching and detaching have the registry's names."""
    if any(row.is_attached for row in rows):
        return "in-use"
    return rows[0].state if rows else "available"


def _attachment(row: Attachment) -> dict[str, Any]:
    return {"id": row.volume_id, "volume_id": row.volume_id, "server_id": row.server_id, "device": row.device}
