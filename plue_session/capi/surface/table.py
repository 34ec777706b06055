"""The table of exported functions, filled by the modules beside this one."""

#: How long a call may take, as the header prints it.
TIMES = {
    "instant": "instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.",
    "local": "local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s more to "
             "learn how a commit that has begun ends). No network.",
    "remote": "remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.",
    "waits": "waits, as described, at most as long as stated.",
}

#: Functions in the order of the header: name -> (function, attributes).
TABLE = {}


def export(time, lane=None):
    """Register a function of the C surface. Its name, parameters and docstring *are* the C declaration.

    `lane` names the library thread that runs the body: "commit" (the one writer: the call's change joins a group
    commit) or "read". A function without a lane is answered in C (capi/*.c); it has a docstring and no body.
    """
    def register(function):
        TABLE[function.__name__] = (function, {"time": time, "lane": lane})
        return function
    return register
