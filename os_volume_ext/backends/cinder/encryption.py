"""Encrypted volumes: what the other backend needs to give a server their plain data."""

from collections.abc import Mapping

from ...errors import RequestFailed
from ...outbound.cinder import Deadline
from ..base import PASSPHRASE, AttachRefused, Backend, BackendUnavailable, ConfigurationError, Volume
from .attachments import CinderAttachments
from .keys import KeyManager

# Cinder's names of the format, of today and of former releases.
LUKS = ("luks", "LuksEncryptor", "nova.volume.encryptors.luks.LuksEncryptor", "os_brick.encryptors.luks.LuksEncryptor")


class Encryption:
    """Adds passphrases to connections; without a key manager, encrypted volumes are refused."""

    def __init__(self, conf: str | None, inner: Backend, attachments: CinderAttachments) -> None:
        """Read the option.

        :param conf: ``key_manager_conf``, see :class:`KeyManager`; None without one.
        :param inner: the other backend.
        :raises ConfigurationError: if it is invalid, or the other backend can't decrypt.
        """
        if conf is not None and not inner.decrypts:
            raise ConfigurationError("backend.key_manager_conf needs a backend.inner that can decrypt, such as libvirt")
        self._keys = None if conf is None else KeyManager(conf)
        self._attachments = attachments

    def with_passphrase(
        self, volume: Volume, connection: Mapping[str, object], deadline: Deadline, reserved: float
    ) -> Mapping[str, object]:
        """Return a connection with what the other backend needs to decrypt the data.

        :param reserved: the seconds that have to be left at the end.
        :raises AttachRefused: if the volume is encrypted, and that is not supported or its key is missing.
        :raises BackendUnavailable: if Cinder or the key manager fails.
        """
        if not connection.get("encrypted"):
            return connection
        if self._keys is None:
            raise AttachRefused(f"Volume {volume.id} is encrypted; encrypted volumes can't be attached.")
        try:
            provider, key_id = self._attachments.encryption(volume, deadline)
        except RequestFailed as error:
            raise BackendUnavailable(str(error)) from error
        if provider not in LUKS:
            raise AttachRefused(f"Volume {volume.id} is encrypted in a way that is not supported: it must be luks.")
        if not key_id:
            raise AttachRefused(f"Volume {volume.id} is encrypted, and Cinder does not have the id of its key.")
        passphrase = self._keys.passphrase(volume, key_id, deadline.remaining() - reserved)
        return {**connection, PASSPHRASE: passphrase}

    def check(self) -> None:
        """Check that a key manager could be asked, if there is one.

        :raises BackendUnavailable: if not.
        """
        if self._keys is not None:
            self._keys.check()
