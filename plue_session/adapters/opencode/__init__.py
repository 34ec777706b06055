"""OpenCode's server as a remote: everything that knows its HTTP API, and nothing above that does.

From below: `http_response` and `http_connection` (one connection, which any thread may cut), `http` (requests over kept
ones), `shapes` and `events` (what the server says, as records), `client` (the calls), `turns` (abort), `stream`
(server-sent events), `process` (a server of our own, on `adapters/child`). What OpenCode does differently from what one
would expect ends here; the comments name the fact. Measured against 1.18.33.
"""
