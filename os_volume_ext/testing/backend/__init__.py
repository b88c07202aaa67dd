"""Tests of what ``os_volume_ext.backends.base`` requires of a backend.

A plugin author inherits them in a test module::

    class TestMyBackend(BackendContract):
        backend_class = MyBackend
        limit = 25
        requestable_device = "/dev/vdf"
        reports_devices = True
        multiattach = False

        @pytest.fixture
        def options(self): ...

        @pytest.fixture
        def stubborn_server(self):
            return Absent("every server releases its disks")

and so on for every fixture whose docstring begins with "Provide". Run the tests against the real hypervisor or
storage, not a fake.
"""

from .attach import Attach
from .attached import Attached
from .concurrency import Concurrency
from .detach import Detach
from .devices import Devices
from .encryption import Encryption
from .faults import Faults
from .hostile import HostileInput
from .limits import TimeLimits
from .multiattach import SeveralServers
from .places import Places
from .processes import Processes
from .refusals import Refusals
from .resizing import Resizing
from .resources import Resources
from .startup import StartUp

__all__ = ["BackendContract"]


class BackendContract(
    StartUp,
    Attach,
    Detach,
    Attached,
    Devices,
    Resizing,
    Encryption,
    Places,
    SeveralServers,
    Refusals,
    Resources,
    Faults,
    TimeLimits,
    Concurrency,
    Processes,
    HostileInput,
):
    """Test a backend. Inherit the class, declare its attributes, and override the fixtures that say "Provide"."""
