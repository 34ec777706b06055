/* argv[1] rounds of open, read, destroy, and now and then create, delete: memory, descriptors and threads stay as they are. */
#include "check.h"

int main(int count, char **arguments)
{
    int rounds = count > 1 ? atoi(arguments[1]) : 1000, fds = 0, tasks = 0;
    long kib = 0;
    start(",\"replay\":{\"limit\":64}");
    plue_session_t last = NULL;
    for (int i = 0; i < rounds; i++) {
        plue_session_t session = plue_session_create(NULL);
        char *info = plue_session_get_info(session), *id = plue_session_get_id(session), *event;
        CHECK(session && session != last && info && strstr(info, id));
        plue_free(info);
        CHECK(plue_session_delete(session) == 0);
        plue_session_destroy(session);
        while ((event = plue_event_poll()))
            plue_free(event);
        plue_free(id);
        last = session;
        if (i == rounds / 4) {
            fds = descriptors();
            tasks = threads();
            kib = resident_kib();
        }
    }
    CHECK(descriptors() == fds && threads() == tasks);
    if (resident_kib() - kib >= 2048)
        fprintf(stderr, "grew by %ld KiB\n", resident_kib() - kib);
    CHECK(resident_kib() - kib < 2048);
    plue_shutdown();
    return 0;
}
