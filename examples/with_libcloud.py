"""Attach a volume to a server, list the attachments, and detach it, with apache-libcloud.

usage: . examples/openrc; python examples/with_libcloud.py SERVER VOLUME_ID
"""

import os
import sys

from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

driver = get_driver(Provider.OPENSTACK)(
    os.environ["OS_USERNAME"],
    os.environ["OS_PASSWORD"],
    api_version="2.2",
    ex_force_auth_url=os.environ["OS_AUTH_URL"].removesuffix("/v3"),
    ex_force_auth_version="3.x_password",
    ex_tenant_name=os.environ["OS_PROJECT_NAME"],
    ex_force_service_region=os.environ["OS_REGION_NAME"],
)
[node] = [node for node in driver.list_nodes() if node.name == sys.argv[1]]

driver.attach_volume(node, driver.ex_get_volume(sys.argv[2]))
volume = driver.ex_get_volume(sys.argv[2])  # read again, now with its attachments
for attachment in volume.extra["attachments"]:
    print(f"{attachment['device']} is {volume.id}")
driver.detach_volume(volume, node)
print("detached")
