"""The process of one side of a benchmark: repetitions of its tasks on request.

A side is one of the packages that are compared; each runs in an environment of its own.
It builds its model, writes its properties, then reads the name of a task per line and
writes the seconds of one repetition. Its lines are JSON with a prefix, because
libraries print too.
"""

import json
import sys
import time

PREFIX = "result: "


def timed(task):
    """Returns the seconds of one call, which must return when its result is ready."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def serve(tasks, properties):
    """Warms up, writes properties and the times of first calls, then serves requests.

    Args:
        tasks: functions by name.
        properties: of the model, such as its number of parameters.
    """
    first = {name: timed(task) for name, task in tasks.items()}
    for task in tasks.values():
        task()
    write = lambda value: print(PREFIX + json.dumps(value), flush=True)
    write(properties | {"first": first})
    for line in sys.stdin:
        write(timed(tasks[line.strip()]))


def settings():
    """Returns the settings in the first argument of the command line."""
    return json.loads(sys.argv[1])
