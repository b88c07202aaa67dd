"""Whether a server is gone. That allows other callers to detach its volumes, and reconcile to delete them."""

from ..compute.remote import RemoteComputeAPI
from ..errors import ServerMissing
from ..models import Server
from .executor import BackendExecutor


class GoneServers:
    """Decides whether servers are gone (docs/protocol.rst, R25).

    What the compute API shows to the caller of a request does not count: servers are hidden, shared, and moved.
    """

    def __init__(self, *, compute: RemoteComputeAPI | None, executor: BackendExecutor) -> None:
        """Take the collaborators.

        :param compute: None where ``compute.url`` is not set: the backend decides.
        """
        self._compute = compute
        self._executor = executor

    def is_gone(self, request_id: str, server: Server) -> bool:
        """Return whether a server is gone.

        :param request_id: the request for which a backend call is made.
        :raises ComputeUnavailable: if the compute API fails, or it is not certain that it shows all servers.
        :raises BackendError: if the backend fails.
        :raises Overloaded: if no slot is free.
        """
        if self._compute is not None:
            return self.is_confirmed(server.id)
        with self._executor.slot(request_id, server.project_id) as slot:
            return slot.disks(server) is None

    def is_confirmed(self, server_id: str) -> bool:
        """Return whether a server is gone that the backend does not have.

        :raises ComputeUnavailable: as ``is_gone`` does.
        """
        if self._compute is None:
            return True
        try:
            self._compute.server(server_id)
        except ServerMissing:
            return True
        return False
