"""Exercises a client's Python API for the tests; the interpreter of the clients' virtualenv runs it.

``exercise.py MODULE [MICROVERSION]`` reads a call a line, ``[USER, METHOD, ARGUMENTS, NAMED]`` in JSON, and writes a
line with what the method of the module's ``Client`` returned or raised. ``OS_AUTH_URL``, ``OS_PROJECT_NAME`` and
``OS_PASSWORD`` are the variables of the command ``openstack``; an empty password is the user's name.
"""

import functools
import importlib
import json
import os
import sys


def credentials(user: str) -> dict[str, str]:
    """Return a user's, as keystoneauth names them."""
    return {
        "auth_url": os.environ["OS_AUTH_URL"],
        "username": user,
        "password": os.environ["OS_PASSWORD"] or user,
        "project_name": os.environ["OS_PROJECT_NAME"],
        "user_domain_id": "default",
        "project_domain_id": "default",
    }


def main(module: str, *version: str) -> None:
    """Serve calls until the input ends."""
    make = importlib.import_module(module).Client
    client = functools.cache(lambda user: make(credentials(user), *version))
    for line in sys.stdin:
        user, method, arguments, named = json.loads(line)
        try:
            result = {"returned": getattr(client(user), method)(*arguments, **named)}
        except Exception as error:
            result = {"raised": type(error).__name__, "message": str(error)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
