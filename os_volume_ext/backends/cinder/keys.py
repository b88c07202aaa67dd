"""The passphrases of encrypted volumes, whose keys are in a key manager such as Barbican.

Castellan (extra ``encryption``) asks the key manager, with the credentials and options of a configuration file of its
own. It has no time limit, so each request has a thread.
"""

from importlib.util import find_spec
from typing import Any

from ...perprocess import PerProcess
from ...threadpool import DaemonThreadPool
from ..base import AttachRefused, BackendUnavailable, ConfigurationError, Volume

CHECK_TIMEOUT = 10  # seconds


class KeyManager:
    """Asks a key manager; each request has a connection of its own."""

    def __init__(self, conf: str) -> None:
        """Take the configuration; nothing is read.

        :param conf: the path of a file in the format of oslo.config, with the section ``key_manager`` and that of the
            key manager, such as ``barbican``.
        :raises ConfigurationError: if it is not an absolute path, or Castellan is not installed.
        """
        if not conf.startswith("/") or not conf.isprintable():
            raise ConfigurationError(f"backend.key_manager_conf is {conf!r}: it must be an absolute path")
        if find_spec("castellan") is None:
            raise ConfigurationError("backend.key_manager_conf requires Castellan: install os-volume-ext[encryption]")
        self._conf = conf
        self._threads = PerProcess(DaemonThreadPool)

    def passphrase(self, volume: Volume, key_id: str, timeout: float) -> str:
        """Return the passphrase of a volume: its key in hexadecimal digits, as Cinder and Nova have it.

        :param key_id: the key's id in the key manager.
        :param timeout: seconds.
        :raises AttachRefused: if there is no such key.
        :raises BackendUnavailable: if the key manager fails, or refuses the credentials.
        """
        key: bytes | None = self._call(_get, key_id, timeout)
        if key is None:
            raise AttachRefused(f"Volume {volume.id} is encrypted, and the key manager does not have its key.")
        return key.hex()

    def check(self) -> None:
        """Check that the configuration can be read, and has credentials.

        :raises BackendUnavailable: if not.
        """
        self._call(_connect, None, CHECK_TIMEOUT)

    def _call(self, function: Any, argument: Any, timeout: float) -> Any:
        try:
            call = self._threads().submit("os-volume-ext-key-manager", function, self._conf, argument)
        except RuntimeError as error:
            raise BackendUnavailable(f"no thread could be started: {error}") from error
        if not call.is_done_within(max(timeout, 0)):
            raise BackendUnavailable(f"the key manager did not respond within {max(timeout, 0):.1f} seconds")
        try:
            return call.result()
        except Exception as error:  # whatever a driver of Castellan's raises
            raise BackendUnavailable(f"the key manager failed: {type(error).__name__}: {error!s:.300}") from error


def _connect(conf: str, _: object) -> tuple[Any, Any]:
    """Return Castellan's key manager and the credentials for it."""
    from castellan import key_manager
    from castellan.common import utils
    from oslo_config import cfg

    options = cfg.ConfigOpts()
    options([], project="os-volume-ext", default_config_files=[conf], default_config_dirs=[])
    manager = key_manager.API(options)
    return manager, utils.credential_factory(conf=options)


def _get(conf: str, key_id: str) -> bytes | None:
    """Return a key; None if there is none."""
    from castellan.common.exception import ManagedObjectNotFoundError

    manager, credentials = _connect(conf, None)
    try:
        key = manager.get(credentials, key_id).get_encoded()
    except ManagedObjectNotFoundError:
        return None
    if not isinstance(key, bytes) or not key:
        raise ValueError("what it has under the id of the key is no key")
    return key
