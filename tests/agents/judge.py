"""Judges what an agent and its client have said to each other, by the protocol's own package."""

import json

from acp import schema

ASKED_OF_AGENTS = {
    "initialize": (schema.InitializeRequest, schema.InitializeResponse),
    "authenticate": (schema.AuthenticateRequest, schema.AuthenticateResponse),
    "session/new": (schema.NewSessionRequest, schema.NewSessionResponse),
    "session/load": (schema.LoadSessionRequest, schema.LoadSessionResponse),
    "session/resume": (schema.ResumeSessionRequest, schema.ResumeSessionResponse),
    "session/prompt": (schema.PromptRequest, schema.PromptResponse),
    "session/set_mode": (schema.SetSessionModeRequest, schema.SetSessionModeResponse),
    "session/set_config_option": (
        schema.SetSessionConfigOptionSelectRequest,
        schema.SetSessionConfigOptionResponse,
    ),
    "session/delete": (schema.DeleteSessionRequest, schema.DeleteSessionResponse),
    "session/cancel": (schema.CancelNotification, None),
}
ASKED_OF_CLIENTS = {
    "session/request_permission": (schema.RequestPermissionRequest, schema.RequestPermissionResponse),
    "fs/read_text_file": (schema.ReadTextFileRequest, schema.ReadTextFileResponse),
    "fs/write_text_file": (schema.WriteTextFileRequest, schema.WriteTextFileResponse),
    "terminal/create": (schema.CreateTerminalRequest, schema.CreateTerminalResponse),
    "session/update": (schema.SessionNotification, None),
    "$/cancel_request": (schema.CancelRequestNotification, None),
}
#: What agents in use have, and this version of the package does not know any more.
UNKNOWN = {"session/set_model"}
#: The update that the fake agent makes up.
STRANGE = "weather_update"


def messages(trace):
    """Return `(way, message)` of each line of a trace, way "in" (to the agent) or "out"."""
    with open(trace) as file:
        return [next(iter(json.loads(line).items())) for line in file]


def judge(trace):
    """Check each message of a trace: its shape, that of its parameters or result, and that each request is answered at
    most once. Of ours, also that nothing is in it that the protocol does not have. Returns how many there were."""
    said = messages(trace)
    open_requests = {"in": {}, "out": {}}
    for way, message in said:
        assert message["jsonrpc"] == "2.0", message
        ours = way == "in"
        if "method" in message:
            assert message.keys() <= {"jsonrpc", "id", "method", "params"}, message
            method = message["method"]
            if "id" in message:
                open_requests[way][json.dumps(message["id"])] = method
            if method not in UNKNOWN and STRANGE not in str(message):
                known = ASKED_OF_AGENTS if ours else ASKED_OF_CLIENTS
                _check(known[method][0], message["params"], ours)
        else:
            method = open_requests["out" if ours else "in"].pop(json.dumps(message["id"]))
            if "error" in message:
                _check(schema.Error, message["error"], ours)
            elif method not in UNKNOWN and message["result"] is not None:
                known = ASKED_OF_CLIENTS if ours else ASKED_OF_AGENTS
                _check(known[method][1], message["result"], ours)
    return len(said)


def _check(model, value, ours):
    read = model.model_validate(value)
    if ours:
        written = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert written == value, (written, value)
