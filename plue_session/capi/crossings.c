/* How values that are not plain text cross: bytes, handles to objects of the Python half, numbers, and results that may
 * be absent. What a shim does with each is in types.py. */
#include "executors.h"

enum { LONGEST_BYTES = 1 << 30 };

void core_take_bytes(core_call *call, const char *name, const void *data, size_t length)
{
    char room[CORE_SUBJECT];
    if (call->failed)
        return;
    call->failed = (!data && length) || length > LONGEST_BYTES ? -1 : 0;
    if (call->failed && data)
        core_fail(PLUE_ERROR_LIMIT_EXCEEDED, core_call_subject(call, room),
                  "%s has %zu bytes, at most %d are taken at a time.", name, length, LONGEST_BYTES);
    else if (call->failed)
        core_fail(PLUE_ERROR_INVALID_PARAM, core_call_subject(call, room),
                  "Invalid parameters: %s is NULL, and its length is %zu. Pass where the bytes are.", name, length);
    call->text[call->texts] = data ? data : "";
    call->length[call->texts++] = length;
}

void core_take_handle(core_call *call, int kind, uintptr_t handle)
{
    char room[CORE_SUBJECT];
    if (!call->failed)
        call->failed = core_object_of(handle, kind, core_call_subject(call, room), &call->value);
}

void core_take_room(core_call *call, void **data, size_t *length)
{
    char room[CORE_SUBJECT];
    if (data)
        *data = NULL;
    if (length)
        *length = 0;
    call->data = data;
    call->size = length;
    if (call->failed || (data && length))
        return;
    call->failed = -1;
    core_fail(PLUE_ERROR_INVALID_PARAM, core_call_subject(call, room),
              "Invalid parameters: %s is NULL. Pass where the bytes and their number are to be stored.",
              data ? "length" : "data");
}

void core_take_session_or_all(core_call *call, plue_session_t session)
{
    if (session != PLUE_ALL_SESSIONS)
        core_take_session(call, session);
}

void *core_run_handle(core_call *call)
{
    request *done = core_call_run(call);
    void *handle = done ? (void *)done->handle : NULL;
    if (done)
        core_request_free(done);
    return handle;
}

/* The text or bytes of a call, to be freed by its caller. The request has the session's id: it goes last. */
static char *take_text(const core_call *call, request *done)
{
    char room[CORE_SUBJECT], *text = done->text;
    if (!text && !done->nothing)
        core_fail(PLUE_ERROR_IO, core_call_subject(call, room), "out of memory. Free some and try again.");
    done->text = NULL;
    core_request_free(done);
    return text;
}

char *core_run_text(core_call *call)
{
    request *done = core_call_run(call);
    return done ? take_text(call, done) : NULL;
}

char *core_run_maybe_text(core_call *call)
{
    request *done = core_call_run(call);
    if (done)
        core_clear_error();
    return done ? take_text(call, done) : NULL;
}

int core_run_bytes(core_call *call)
{
    request *done = core_call_run(call);
    size_t length = done ? done->number : 0;
    char *data = done ? take_text(call, done) : NULL;
    if (!data)
        return -1;
    *call->data = data;
    *call->size = length;
    return 0;
}

uint64_t core_run_number(core_call *call)
{
    request *done = core_call_run(call);
    uint64_t number = done ? done->number : 0;
    if (done)
        core_request_free(done);
    return number;
}
