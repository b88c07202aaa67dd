"""The sample: a small compute API, an identity API, a block-storage API and an auth filter with fixed users and tokens.

For ``make serve`` and the functional tests, never for production: the passwords are in the documentation. Nothing else
in os_volume_ext imports it.
"""
