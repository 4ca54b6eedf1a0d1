"""How a side of a benchmark answers; each runs in an environment of its own.

A side builds its model, says on one line what it is, then does one repetition of the
work whose name it reads and answers with its seconds, line by line. Answers are JSON
after a mark, for libraries print too.
"""

import json
import sys
import time

MARK = "answer: "


def timed(work):
    """Seconds that one call takes; the call returns when its result is there."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def answer(works, facts):
    """Warms up, reports facts and the seconds of the first calls, then serves.

    Args:
        works: what can be asked for, by name.
        facts: what to say of the model.
    """
    first = {name: timed(work) for name, work in works.items()}
    for work in works.values():
        work()
    say = lambda what: print(MARK + json.dumps(what), flush=True)
    say(facts | {"first": first})
    for line in sys.stdin:
        say(timed(works[line.strip()]))


def settings():
    """The settings that the caller gave."""
    return json.loads(sys.argv[1])
