/*
 * A host with a Python of its own, which it ends while the library runs, and starts again: built with Python's own
 * flags. Calls then say at once that the interpreter is gone, also those that were waiting, and so does every later
 * plue_init().
 */
#include <Python.h>

#include "check.h"

static PyThreadState *outside;
static _Atomic int running, heard;

static void on_event(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)event;
    (void)data;
    running = 1;
    pause_ms(20);
    running = 0;
    heard++;
}

static void *wait_long(void *unused)
{
    CHECK_ERROR(!plue_session_create(NULL),
                PLUE_ERROR_RUNTIME); /* the store is locked by argv[1]'s process: see the test */
    CHECK_SAYS("finalized");
    return unused;
}

static void is_gone(void)
{
    double begun = seconds();
    CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_RUNTIME);
    CHECK_SAYS("finalized");
    CHECK_ERROR(!plue_session_list(), PLUE_ERROR_RUNTIME);
    CHECK_ERROR(!plue_session_batch("[]"), PLUE_ERROR_RUNTIME);
    CHECK_ERROR(!plue_session_submit("[]"), PLUE_ERROR_RUNTIME);
    CHECK(seconds() - begun < 3);
}

int main(int count, char **arguments)
{
    Py_InitializeEx(0);
    outside = PyEval_SaveThread();
    start("");
    CHECK(plue_session_create(NULL));
    char *kept = plue_session_list();
    uint32_t subscription = plue_event_subscribe(on_event, NULL);
    CHECK(subscription);
    for (int i = 0; i < 20; i++)
        plue_session_destroy(plue_session_create(NULL));
    if (count > 1) { /* wait for the store to be locked, then have a call wait for it */
        printf("locked?\n");
        fflush(stdout);
        CHECK(getchar() != EOF);
        pthread_t waiting = run(wait_long, NULL);
        pause_ms(200); /* for the call to be made; if it was not yet, it is refused all the same */
        PyEval_RestoreThread(outside);
        CHECK(Py_FinalizeEx() == 0);
        end(waiting);
    } else {
        PyEval_RestoreThread(outside);
        CHECK(Py_FinalizeEx() == 0);
    }
    (void)arguments;
    is_gone();
    plue_event_unsubscribe(subscription); /* needs no Python: from here on what the callback uses may go */
    int last = heard;
    CHECK(!running && last < 20);
    pause_ms(100);
    CHECK(!running && heard == last);
    plue_free(kept);
    Py_InitializeEx(0);
    outside = PyEval_SaveThread();
    is_gone();
    double begun = seconds();
    plue_shutdown();
    CHECK_ERROR(plue_init(NULL) == -1, PLUE_ERROR_RUNTIME);
    CHECK_SAYS("new process");
    CHECK(seconds() - begun < 3);
    CHECK(strlen(plue_get_version()) > 0);
    return 0;
}
