"""Members of a request's body."""

import pytest

from os_volume_ext.api import members
from os_volume_ext.api.faults import BadRequest

UUID = "a26887c6-c47b-4654-abb5-dfadf7d3f803"


@pytest.mark.parametrize("value", [None, "/dev/vdb", "/dev/sda1", "/dev/" + "a" * 250])
def test_a_device_is_returned_as_it_is(value):
    assert members.device(value) == value


@pytest.mark.parametrize(
    "value", ["", "vdb", "/dev/", "/dev/1", "/dev/vdb\n", "/dev/vdB", "/dev/" + "a" * 251, 1, True, []]
)
def test_a_malformed_device_is_refused(value):
    with pytest.raises(BadRequest) as caught:
        members.device(value)
    assert caught.value.message == "device must match ^/dev/[a-z]+[0-9]*$ and have at most 255 characters."


def test_a_uuid_is_returned_in_lowercase():
    assert members.uuid(UUID.upper()) == UUID


@pytest.mark.parametrize("value", [None, 9, "9", "", UUID.replace("-", "")])
def test_a_malformed_uuid_is_refused(value):
    with pytest.raises(BadRequest, match="id and serverId must each be a UUID such as"):
        members.uuid(value)
