/* Calls that may wait for the disk or for a server: never on the main thread. */
#include "chat.h"

typedef struct {
    call_function call;
    done_function done;
    char **words;
} job;

static void job_free(gpointer given)
{
    job *of = given;
    g_strfreev(of->words);
    g_free(of);
}

static void run(GTask *task, gpointer source, gpointer given, GCancellable *never)
{
    (void)source, (void)never;
    job *of = given;
    gpointer result = of->call(of->words);
    if (result)
        g_task_return_pointer(task, result, NULL);
    else /* the last error is this thread's: keep its text */
        g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_FAILED, "%s", plue_get_last_error());
}

static void finish(GObject *source, GAsyncResult *task, gpointer unused)
{
    (void)source, (void)unused;
    job *of = g_task_get_task_data(G_TASK(task));
    GError *error = NULL;
    gpointer result = g_task_propagate_pointer(G_TASK(task), &error);
    if (error)
        window_show_status(error->message);
    else if (of->done)
        of->done(result);
    g_clear_error(&error);
}

void work(call_function call, done_function done, ...)
{
    GStrvBuilder *words = g_strv_builder_new();
    va_list given;
    va_start(given, done);
    for (const char *word; (word = va_arg(given, const char *));)
        g_strv_builder_add(words, word);
    va_end(given);
    job *of = g_new(job, 1);
    *of = (job){call, done, g_strv_builder_end(words)};
    g_strv_builder_unref(words);
    GTask *task = g_task_new(NULL, NULL, finish, NULL);
    g_task_set_task_data(task, of, job_free);
    g_task_run_in_thread(task, run);
    g_object_unref(task);
}

gpointer done_if(int code)
{
    static char done[] = "done";
    return code == 0 ? done : NULL;
}
