"""Encrypted volumes, for a backend that decrypts."""

from dataclasses import replace

from ...backends.base import PASSPHRASE, AttachRefused
from ..expectations import must_raise
from .checks import assert_has, must_attach, must_detach
from .declarations import Declarations


class Encryption(Declarations):
    """Attach a volume whose data is encrypted, with its passphrase and without."""

    def test_an_encrypted_volume_is_attached_with_its_passphrase(self, backend, server, encrypted_volume):
        assert backend.decrypts, "encrypted_volume is there, and decrypts is False: return Absent, or set decrypts"
        for _ in range(2):
            device = must_attach(backend, server, encrypted_volume)
            assert_has(backend, server, {encrypted_volume.id: device}, "after an attach of an encrypted volume")
            must_detach(backend, server, replace(encrypted_volume, connection=None), device)

    def test_an_encrypted_volume_without_its_passphrase_is_refused(self, backend, server, encrypted_volume):
        known = {name: value for name, value in encrypted_volume.connection.items() if name != PASSPHRASE}
        with must_raise(AttachRefused, "attach of an encrypted volume without its passphrase"):
            backend.attach(server, replace(encrypted_volume, connection=known), None)
        assert_has(backend, server, {}, "after a refused attach of an encrypted volume")
