"""HTTP requests to other services: to ``compute.url`` and Keystone."""
