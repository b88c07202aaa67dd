"""The os-volume_attachments extension for any OpenStack-style compute API, as a Paste filter.

Public, and changed with a release note only:

- ``os_volume_ext.filter``: ``filter_factory``, ``make_filter`` and the ``Filter`` that they return
- ``os_volume_ext.backends.base``, the interface of backends
- ``os_volume_ext.catalog.base``, the interface of volume catalogs
- ``os_volume_ext.testing``, the tests for plugins

All other modules are internal.
"""
