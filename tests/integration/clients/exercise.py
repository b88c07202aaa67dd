"""Lets the tests speak through a client's Python API; the interpreter of the clients' virtualenv runs it.

``exercise.py MODULE URL [MICROVERSION]`` takes a question a line, ``[USER, METHOD, ARGUMENTS, NAMED]`` in JSON, and
answers in a line what the method of the module's ``Client`` returned or raised.
"""

import functools
import importlib
import json
import sys


def main(module: str, url: str, *version: str) -> None:
    """Answer until the input ends."""
    client = functools.cache(importlib.import_module(module).Client)
    for line in sys.stdin:
        user, method, arguments, named = json.loads(line)
        try:
            answer = {"returned": getattr(client(url, user, *version), method)(*arguments, **named)}
        except Exception as error:
            answer = {"raised": type(error).__name__, "said": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
