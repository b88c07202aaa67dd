"""Initial volumes and attachments of the sample, made with the means that operators have."""

import logging
from collections.abc import Mapping
from contextlib import closing, suppress

from ..assembly import Assembly, assemble_current
from ..catalog.sql import SQLCatalog
from ..errors import NotAdopted, VolumeExists
from ..models import Server, Volume
from ..records import make_catalog
from ..settings import Settings
from .data import ROOT_VOLUMES, VOLUMES
from .section import options_of

LOG = logging.getLogger(__name__)


def seed(global_conf: Mapping[str, str], section: str) -> None:
    """Add what is missing; the servers must exist.

    Only the catalog ``sql`` gets volumes: those of another are managed elsewhere. Only the backend ``directory`` gets
    root volumes: the servers of another are not the sample's.

    :param global_conf: PasteDeploy's, with the path of the paste file.
    :param section: the section of the filter with the catalog and the registry.
    :raises ConfigurationError: if there is no such section, or one of its options is invalid.
    """
    with options_of(global_conf, "seed", section) as given:
        # Without compute.*: this compute API is not served yet.
        options = {name: value for name, value in given.items() if not name.startswith("compute.")}
        with closing(assemble_current(Settings.parse(options))) as assembly:
            assembly.backend.prepare()  # the sample's directories are new, whatever its database has
            _fill(assembly)


def _fill(assembly: Assembly) -> None:
    settings = assembly.settings
    catalog = make_catalog(settings, assembly.database)
    if not isinstance(catalog, SQLCatalog):
        LOG.info("the catalog %s has volumes of its own: those of the sample are not added", settings.catalog)
        return
    for volume in VOLUMES[settings.dialect.name]:
        with suppress(VolumeExists):
            catalog.create(Volume(volume.id, volume.project_id))
    if settings.backend == "directory":
        _attach_root_volumes(assembly)


def _attach_root_volumes(assembly: Assembly) -> None:
    adopter = assembly.adopter()
    for root in ROOT_VOLUMES[assembly.settings.dialect.name]:
        server = Server(root.server_id, root.project_id, "ACTIVE")
        assembly.backend.attach(server, Volume(root.volume_id, root.project_id), root.device)
        with suppress(NotAdopted):
            adopter.adopt(root.server_id, root.volume_id, device=root.device, root=True, project_id=root.project_id)
