"""OpenCode's server as a remote: everything that knows its HTTP API, and nothing above that does.

From below: `connection` (one socket that any thread may cut), `http` (requests with deadlines), `shapes` and `events`
(what the server says, as records), `client` (the calls), `turns` (abort), `stream` (server-sent events), `process` and
`guard.c` (a server of our own). What OpenCode does differently from what one would expect ends here; the comments name
the fact. Measured against 1.18.33.
"""
