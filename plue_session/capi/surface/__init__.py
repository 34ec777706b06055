"""The C surface: one annotated, documented function per exported symbol, in the order in which the header prints them.

Everything that names a symbol (header, declarations, shims, export list, ctypes prototypes, reference page) is
generated from here by `capi/emit.py`. Bodies take the running library (`runtime.Runtime`) and checked arguments
(`capi/types.py`). They return a result, an operation, a function of the call, or a `Later`.
"""

from plue_session.capi.surface import library, sessions, events  # noqa: F401  (they fill the table, in this order)
from plue_session.capi.surface.table import TABLE, TIMES, fingerprint  # noqa: F401
