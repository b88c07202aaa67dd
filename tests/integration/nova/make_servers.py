"""Makes a flavor, and servers of it, as Nova's own objects; runs once, in Nova's virtualenv and directory.

Reads a JSON list: of each server ``project``, ``user``, and optionally ``vm_state``, ``power_state``, and
``volumes`` for the ids of volumes that Nova itself has attached. Prints the list of the servers' ids.
"""

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import json  # noqa: E402
import sys  # noqa: E402
import uuid  # noqa: E402

from nova import config, context, objects  # noqa: E402
from nova.network.model import NetworkInfo  # noqa: E402

SIZE = {"memory_mb": 64, "vcpus": 1, "root_gb": 1, "ephemeral_gb": 0}


def make(server, flavor, cell):
    owner = context.RequestContext(user_id=server["user"], project_id=server["project"])
    server_id = str(uuid.uuid4())
    with context.target_cell(owner, cell) as in_cell:
        instance = objects.Instance(
            in_cell,
            uuid=server_id,
            project_id=owner.project_id,
            user_id=owner.user_id,
            display_name="made",
            hostname="made",
            vm_state=server.get("vm_state", "active"),
            power_state=server.get("power_state", 1),
            task_state=None,
            image_ref="",
            metadata={"a": "b"},
            system_metadata={},
            locked=False,
            access_ip_v4=None,
            access_ip_v6=None,
            compute_id=None,
            flavor=flavor,
            old_flavor=None,
            new_flavor=None,
            instance_type_id=flavor.id,
            **SIZE,
        )
        instance.create()
        # Without it the cache holds null, which lists of servers stumble over.
        instance.info_cache.network_info = NetworkInfo()
        instance.info_cache.save()
        for number, volume_id in enumerate(server.get("volumes", ())):
            attach(in_cell, server_id, volume_id, f"/dev/vd{'bcdefghijklmnopqrstuvwxyz'[number]}")
    objects.InstanceMapping(
        owner,
        instance_uuid=server_id,
        cell_mapping=cell,
        project_id=owner.project_id,
        user_id=owner.user_id,
        queued_for_delete=False,
    ).create()
    return server_id


def attach(in_cell, server_id, volume_id, device):
    objects.BlockDeviceMapping(
        in_cell,
        instance_uuid=server_id,
        source_type="volume",
        destination_type="volume",
        volume_id=volume_id,
        device_name=device,
        boot_index=None,
        delete_on_termination=False,
        connection_info="{}",
        attachment_id=None,
    ).create()


def main():
    config.parse_args([sys.argv[0], "--config-file", "nova.conf"])
    objects.register_all()
    admin = context.get_admin_context()
    like = {"swap": 0, "rxtx_factor": 1.0, "vcpu_weight": 0, "disabled": False, "is_public": True, **SIZE}
    flavor = objects.Flavor(admin, name="m1.nano", flavorid="1", **like)
    flavor.create()
    cells = {cell.name: cell for cell in objects.CellMappingList.get_all(admin)}
    print(json.dumps([make(server, flavor, cells["cell1"]) for server in json.load(sys.stdin)]))


main()
