"""The C surface: one annotated, documented function per exported symbol, in the order in which the header prints them.

Everything that names a symbol (header, declarations, shims, export list, ctypes prototypes, reference page) is
generated from here by `capi/emit.py`. Bodies take the running library (`runtime.Runtime`) and checked arguments
(`capi/types.py`). They return a result, an operation, a function of the call, or a `Later`.
"""

from plue_session.capi.surface import library, json, sessions, events, observation, turns, relay
from plue_session.capi.surface.table import RESERVED, TABLE, TIMES, fingerprint
