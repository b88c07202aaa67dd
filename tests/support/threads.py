"""Threads that do something at the same moment."""

import threading

from tests.support.waiting import TIMEOUT


def in_threads(*functions):
    """Run functions at the same moment; return what they returned or raised."""
    start = threading.Barrier(len(functions))
    outcomes = [None] * len(functions)

    def run(number, function):
        start.wait(TIMEOUT)
        try:
            outcomes[number] = function()
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return outcomes
