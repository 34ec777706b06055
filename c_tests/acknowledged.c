/*
 * Kills itself as soon as a call has returned. argv[1]: the configuration; argv[2]: create, rename or delete; argv[3]:
 * the options of a create, or the id of a session; argv[4]: its new title.
 */
#include "check.h"

int main(int count, char **arguments)
{
    CHECK(count > 3);
    const char *what = arguments[2];
    CHECK(plue_init(arguments[1]) == 0);
    plue_session_t session = NULL;
    int done = -1;
    if (!strcmp(what, "create")) {
        session = plue_session_create_with(arguments[3]);
        done = session ? 0 : -1;
    } else {
        session = plue_session_open(arguments[3]);
        CHECK(session);
        done = !strcmp(what, "rename") ? plue_session_update_title(session, arguments[4])
                                       : plue_session_delete(session);
    }
    if (done == 0)
        kill(getpid(), SIGKILL);
    fprintf(stderr, "%s\n", plue_get_last_error());
    return 1;
}
