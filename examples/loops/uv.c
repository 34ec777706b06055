/*
 * libuv (Node.js, Neovim): a poll handle. Build it with
 *
 *     eval "cc uv.c -o uv -pthread $(plue-session-config --cflags --libs) $(pkg-config --cflags --libs libuv)"
 *
 * Alone, a thread of it makes a session and deletes it. With an argument it waits for somebody who does:
 * plue-session create; plue-session delete ID
 */
#include "loop.h"

#include <uv.h>

static void on_events(uv_poll_t *handle, int status, int ready)
{
    (void)ready;
    if (status < 0) {
        fprintf(stderr, "Error: %s\n", uv_strerror(status));
        exit(1);
    }
    if (!take())
        uv_close((uv_handle_t *)handle, NULL); /* the loop ends with its last handle, and then finish() */
}

int main(int count, char **words)
{
    (void)words;
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t handle;
    uv_poll_init(loop, &handle, begin(count == 1));
    uv_poll_start(&handle, UV_READABLE, on_events);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    return finish();
}
