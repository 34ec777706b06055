/*
 * Threads of the library that run Python.
 *
 * Each makes its thread state itself, where a lack of memory can be reported: left to PyGILState_Ensure(), one failed
 * calloc ends the process. Whoever starts the thread waits until it has its state.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boot.h"

#include <time.h>

enum { AGAIN_NS = 5000000 };

#if PY_VERSION_HEX < 0x030B0000
void _PyThreadState_Init(PyThreadState *state);
#define bind_state _PyThreadState_Init
#elif PY_VERSION_HEX < 0x030C0000
void _PyThreadState_SetCurrent(PyThreadState *state);
#define bind_state _PyThreadState_SetCurrent
#endif

extern int core_python_serve(int executor, int number);

struct serving {
    int executor, number, result; /* result: 0 until it is known, then 1 or -1 */
    void (*ended)(int executor, int number);
};

static pthread_mutex_t begun_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER;

int core_python_join(void)
{
    if (PyGILState_GetThisThreadState())
        return 0;
#if PY_VERSION_HEX < 0x030C0000
    PyThreadState *made = _PyThreadState_Prealloc(PyInterpreterState_Main());
    if (made)
        bind_state(made);
#else
    PyThreadState *made = PyThreadState_New(PyInterpreterState_Main());
#endif
    return made ? 0 : -1;
}

void core_python_part(void)
{
    PyThreadState *mine = PyGILState_GetThisThreadState();
    if (!mine || core_python_gone())
        return;
    PyEval_RestoreThread(mine);
    PyThreadState_Clear(mine);
    PyThreadState_DeleteCurrent();
}

/* Python may fail to begin when memory is short. Others depend on this thread, or asked for it, so it tries again. */
void core_serve(int executor, int number)
{
    while (core_python_serve(executor, number) < 0 && (executor < 0 || core_executor_is_open(executor, number)) &&
           !core_python_gone())
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_NS}, NULL);
}

static void *serve(void *argument)
{
    struct serving mine = *(struct serving *)argument;
    int result = core_python_join() ? -1 : 1;
    pthread_mutex_lock(&begun_lock);
    ((struct serving *)argument)->result = result; /* it belongs to the starter, which goes on now */
    pthread_cond_broadcast(&begun);
    pthread_mutex_unlock(&begun_lock);
    if (result < 0)
        return NULL;
    if (mine.executor >= 0)
        core__adopt(mine.number);
    core_serve(mine.executor, mine.number);
    if (mine.ended)
        mine.ended(mine.executor, mine.number);
    core_python_part();
    return NULL;
}

int core_spawn_python(const char *name, int executor, int number, void (*ended)(int executor, int number))
{
    struct serving made = {executor, number, 0, ended};
    if (core_spawn(name, serve, &made))
        return -1;
    pthread_mutex_lock(&begun_lock);
    while (!made.result)
        pthread_cond_wait(&begun, &begun_lock);
    pthread_mutex_unlock(&begun_lock);
    return made.result > 0 ? 0 : -1;
}

/* A thread for Python's own use: it runs what is kept there under the number. */
int core__start_thread(const char *name, int number)
{
    return core_spawn_python(name, CORE_EXECUTOR_WORK, number, NULL);
}
