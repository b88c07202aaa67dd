"""Attach a volume to a server, list the attachments, and detach it, with openstacksdk.

usage: . examples/openrc; python examples/with_openstacksdk.py SERVER VOLUME_ID
"""

import sys

import openstack

cloud = openstack.connect()  # reads the variables of openrc, or clouds.yaml and OS_CLOUD
server = cloud.get_server(sys.argv[1])
volume = cloud.get_volume(sys.argv[2])

attachment = cloud.attach_volume(server, volume)  # waits until the volume is in use
print(f"attached at {attachment.device}")
for attachment in cloud.compute.volume_attachments(server):
    print(f"{attachment.device} is {attachment.volume_id}")
cloud.detach_volume(server, volume)
print("detached")
