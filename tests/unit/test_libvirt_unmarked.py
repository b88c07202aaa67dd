# ruff: noqa: N802 - the fakes have libvirt's names
"""Domains that do not show all of an attached disk, and domains that never stand still: a real libvirt has neither."""

import uuid
from dataclasses import replace

import pytest
from lxml import etree

from os_volume_ext.backends.base import AttachRefused, BackendUnavailable, OutcomeUnknown, Server, Volume

pytest.importorskip("libvirtmod", reason="libvirt's Python binding is missing: pip install '.[libvirt]'")

import libvirt

from os_volume_ext.backends.libvirt.backend import LibvirtBackend

SERVER = Server(str(uuid.uuid4()), "demo", "ACTIVE")
VOLUME = Volume("9", "demo", "nbd://storage/disk")


class Domain:
    """A domain that runs and is persistent, with free PCI slots. It does not show the elements ``hidden`` of disks."""

    def __init__(self, *hidden):
        self.hidden = hidden
        self.attach_calls = 0
        self.refuses = False
        self.inspected = None
        self.definitions = {
            flag: etree.fromstring("<domain><devices><controller type='pci' model='pci-root'/></devices></domain>")
            for flag in (libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        }

    def isActive(self):
        return 1

    def isPersistent(self):
        return 1

    def name(self):
        return "fake"

    def state(self):
        return libvirt.VIR_DOMAIN_RUNNING, 0

    def controlInfo(self, flags=0):
        return [libvirt.VIR_DOMAIN_CONTROL_OK, 0, 0]

    def XMLDesc(self, flags):
        if self.inspected:
            self.inspected()
        is_config = flags & libvirt.VIR_DOMAIN_XML_INACTIVE
        flag = libvirt.VIR_DOMAIN_AFFECT_CONFIG if is_config else libvirt.VIR_DOMAIN_AFFECT_LIVE
        return etree.tostring(self.definitions[flag], encoding="unicode")

    def attachDeviceFlags(self, xml, flags):
        self.attach_calls += 1
        if self.refuses:
            raise libvirt.libvirtError("refused")
        for flag, definition in self.definitions.items():
            if flags & flag:
                self.add(definition, xml)

    def detachDeviceFlags(self, xml, flags):
        target = etree.fromstring(xml).find("target").get("dev")
        for flag, definition in self.definitions.items():
            if flags & flag:
                disk = definition.find(f"devices/disk/target[@dev='{target}']/..")
                definition.find("devices").remove(disk)

    def UUIDString(self):
        return SERVER.id

    def connect(self):
        return Connection(self)

    def add(self, definition, xml):
        """Add a disk, without what is hidden."""
        disk = etree.fromstring(xml)
        for name in self.hidden:
            disk.remove(disk.find(name))
        definition.find("devices").append(disk)

    def disks(self):
        """Return how many disks each definition has."""
        return [len(definition.findall("devices/disk")) for definition in self.definitions.values()]


class Connection:
    def __init__(self, domain):
        self.domain = domain

    def isAlive(self):
        return 1

    def setKeepAlive(self, interval, count):
        pass

    def domainEventRegisterAny(self, domain, event, callback, opaque):
        pass

    def lookupByUUIDString(self, text):
        return self.domain

    def secretLookupByUUIDString(self, text):
        error = libvirt.libvirtError("this hypervisor has no secrets")
        error.err = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_FROM_NONE, "no secrets")
        raise error


@pytest.fixture
def new_backend(monkeypatch):
    """Give ``new_backend(domain)``: a backend for which every server is this domain."""

    def make(domain, **options):
        monkeypatch.setattr(libvirt, "open", lambda uri: Connection(domain))
        return LibvirtBackend({"probe_timeout": "0", **options})

    return make


# Disks without a serial number


@pytest.mark.parametrize("hidden", [(), ("alias",), ("serial",)])
def test_a_disk_is_recognized_by_its_serial_number_or_else_its_alias(new_backend, hidden):
    domain = Domain(*hidden)
    backend = new_backend(domain)
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vda"
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vda"
    assert backend.attached(SERVER) == {"9": "/dev/vda"}
    assert (domain.attach_calls, domain.disks()) == (1, [1, 1])
    backend.detach(SERVER, VOLUME, None)
    assert domain.disks() == [0, 0]


def test_a_disk_that_is_not_recognized_is_an_unknown_outcome_and_attached_once(new_backend):
    domain = Domain("serial", "alias")
    with pytest.raises(OutcomeUnknown, match=r"libvirt attached volume 9, but the domain shows no disk with this"):
        new_backend(domain).attach(SERVER, VOLUME, None)
    assert (domain.attach_calls, domain.disks()) == (1, [1, 1])


SOURCES = [
    "/srv/disk.img",
    "/dev/vg/disk",
    "rbd:pool/disk",
    "rbd://b,a:1/pool/disk",
    "iscsi://host/iqn/1",
    "nbd://host",
]


@pytest.mark.parametrize("source", SOURCES)
def test_repeated_calls_refuse_a_disk_of_the_same_source_without_a_serial_number(new_backend, source):
    domain, volume = Domain("serial", "alias"), replace(VOLUME, source=source)
    backend = new_backend(domain)
    with pytest.raises(OutcomeUnknown):
        backend.attach(SERVER, volume, None)
    for call in (backend.attach, backend.attach, backend.detach):
        with pytest.raises(AttachRefused, match="a disk with the data of volume 9") as refused:
            call(SERVER, volume, None)
        assert source not in str(refused.value)
    assert (domain.attach_calls, domain.disks()) == (1, [1, 1])


@pytest.mark.parametrize("port", ["", "port='10809'"])
def test_a_port_is_the_same_whether_libvirt_shows_the_default_or_not(new_backend, port):
    domain = Domain()
    for definition in domain.definitions.values():
        source = f"<source protocol='nbd' name='disk'><host name='storage' {port}/></source>"
        domain.add(definition, f"<disk type='network'>{source}<target dev='vda'/></disk>")
    with pytest.raises(AttachRefused):
        new_backend(domain).attach(SERVER, VOLUME, None)
    assert domain.disks() == [1, 1]


@pytest.mark.parametrize(
    "disk",
    [
        "<disk type='network'><source protocol='nbd' name='other'><host name='storage'/></source>{}</disk>",
        "<disk type='network'><source protocol='nbd' name='disk'><host name='storage' port='1'/></source>{}</disk>",
        "<disk device='cdrom'><source protocol='nbd' name='disk'><host name='storage'/></source>{}</disk>",
        "<disk type='volume'><source pool='pool' volume='disk'/>{}</disk>",
        "<disk type='file' device='cdrom'>{}</disk>",
    ],
)
def test_a_disk_of_another_source_is_no_obstacle(new_backend, disk):
    domain = Domain()
    for definition in domain.definitions.values():
        domain.add(definition, disk.format("<target dev='vda'/>"))
    backend = new_backend(domain)
    assert backend.attach(SERVER, VOLUME, None) == "/dev/vdb"
    backend.detach(SERVER, VOLUME, None)
    assert domain.disks() == [1, 1]


# Domains that are half changed, or change all the time


ENCRYPTED = {"driver_volume_type": "local", "device_path": "/srv/9", "encrypted": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"source": "gone:"}, "source of volume 9"), ({"connection": ENCRYPTED}, "passphrase is not known")],
)
def test_a_failure_is_an_unknown_outcome_while_one_definition_has_the_disk(new_backend, changes, message):
    domain = Domain()
    backend = new_backend(domain)
    backend.attach(SERVER, VOLUME, None)
    config = domain.definitions[libvirt.VIR_DOMAIN_AFFECT_CONFIG].find("devices")
    config.remove(config.find("disk"))
    with pytest.raises(OutcomeUnknown, match=message):
        backend.attach(SERVER, replace(VOLUME, **changes), None)


def test_an_attach_to_a_domain_that_always_changes_ends(new_backend):
    domain, targets = Domain(), iter(range(10**9))

    def change():
        live = domain.definitions[libvirt.VIR_DOMAIN_AFFECT_LIVE].find("devices")
        for disk in live.findall("disk"):
            live.remove(disk)
        domain.add(live.getparent(), f"<disk><target dev='vdz{next(targets)}'/></disk>")

    domain.refuses, domain.inspected = True, change
    backend = new_backend(domain, operation_timeout="0.2")
    with pytest.raises(BackendUnavailable, match=f"other calls keep changing the domain of server {SERVER.id}"):
        backend.attach(SERVER, VOLUME, None)
    assert domain.attach_calls > 1
