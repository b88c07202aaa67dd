"""Exercises a client's Python API for the tests; the interpreter of the clients' virtualenv runs it.

``exercise.py MODULE URL [MICROVERSION]`` reads a call a line, ``[USER, METHOD, ARGUMENTS, NAMED]`` in JSON, and
writes a line with what the method of the module's ``Client`` returned or raised.
"""

import functools
import importlib
import json
import sys


def main(module: str, url: str, *version: str) -> None:
    """Serve calls until the input ends."""
    client = functools.cache(importlib.import_module(module).Client)
    for line in sys.stdin:
        user, method, arguments, named = json.loads(line)
        try:
            result = {"returned": getattr(client(url, user, *version), method)(*arguments, **named)}
        except Exception as error:
            result = {"raised": type(error).__name__, "message": str(error)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
