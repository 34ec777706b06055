"""The table of exported functions, filled by the modules beside this one."""

#: How long a call may take, as the header prints it.
TIMES = {
    "instant": "instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.",
    "local": "local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s more to "
    "learn how a commit that has begun ends). No network.",
    "remote": "remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.",
    "waits": "waits, as described, at most as long as stated.",
}

#: What the header says of names that are there before what they stand for.
RESERVED = """Reserved.

Checked, without effect until a later version. They are there so that programs need not be built anew for it.

Configuration: retry.attempts, artifacts, sessions, hooks.
Options of plue_session_create_with(): template (NOT_FOUND: this version can define none).
Queries, a string or an array of alternatives: status "suspended", "completed", "failed"; residency "open", "parked", "closed":
no session matches. sort "artifactCount": all have the same.
Info: artifactCount is 0; time.ended and residency do not occur.
Handles: PLUE_CURRENT_SESSION (BAD_HANDLE everywhere).
Errors that nothing fails with: LEASE_LOST, CLAIM_EXPIRED, HOOK_FAILED.
Events that nothing sends: provider.changed, config.changed, error, session.state_changed, session.completed, artifact.added,
artifact.deleted, resource.changed, hook.failed.
"""

#: Functions in the order of the header: name -> (function, attributes).
TABLE = {}


def fingerprint():
    """Spell what library and package must agree on: the operations in their order, their parameters and their
    executors."""
    return "|".join(
        f"{name}({' '.join(function.__annotations__.values())}):{row['executor']}/{row['away']}"
        for name, (function, row) in TABLE.items()
        if row["executor"]
    )


def export(
    time,
    executor=None,
    away=None,
    shim=True,
    exclusive=False,
    interrupts=False,
    late=None,
    in_bulk=False,
    waits_here=False,
):
    """Register a function of the C surface. Its name, parameters and docstring *are* the C declaration.

    `executor` names the library threads that run the body: "commit" for a change, which joins a group commit, or
    "read". `away` names those that run it when sessions live on a server: "remote" by default for what may ask it,
    "urgent" for what must not wait behind such calls. A function without an executor is answered in C (capi/*.c); it
    has a docstring and no body. Without a `shim` it is C, too, and C calls the body when it needs it. With a server,
    calls that are `exclusive` are made one at a time for each session, or key; the next one gets a thread only then, so
    that it keeps none from other sessions. A call that `interrupts` sends home the callers that wait for its session.
    `late` is what a caller hears whose time is up after the call has begun, if not what all hear. What is `in_bulk` is
    an operation of plue_session_batch() as well, by its name without "plue_session_". What `waits_here` waits
    without a server, too: else a call has the time of a local one there, whatever its caller says.
    """

    def register(function):
        place = away or ("remote" if time == "remote" else executor)
        TABLE[function.__name__] = (
            function,
            {
                "time": time,
                "executor": executor,
                "away": executor and place,
                "shim": shim,
                "exclusive": exclusive,
                "interrupts": interrupts,
                "late": late,
                "in_bulk": in_bulk,
                "waits_here": waits_here,
            },
        )
        return function

    return register
