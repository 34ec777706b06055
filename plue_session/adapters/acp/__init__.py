"""Agents of the Agent Client Protocol: a process (`pipe`), what is said over it (`rpc`), and what that means (`agent`).

Loaded when the first agent is attached; with nothing but the standard library, since the protocol's own package costs
320 ms and 25 MB.
"""
