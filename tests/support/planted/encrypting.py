"""Faults with encrypted volumes."""

from os_volume_ext.backends.base import AttachRefused

from .reference import Reference, caught_by


@caught_by("test_an_encrypted_volume_is_attached_with_its_passphrase")
class DoesNotSayThatItDecrypts(Reference):
    decrypts = False


@caught_by("test_an_encrypted_volume_is_attached_with_its_passphrase")
class RefusesEncryptedVolumes(Reference):
    def check_passphrase(self, volume):
        if volume.connection:
            raise AttachRefused("Encrypted volumes are not supported.")


@caught_by("test_an_encrypted_volume_without_its_passphrase_is_refused")
class AttachesEncryptedVolumesAsTheyAre(Reference):
    def check_passphrase(self, volume):
        pass
