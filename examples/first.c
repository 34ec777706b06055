/* A first program: a session is made, shown, named, shared, and its handle given back. */
#include <plue_session.h>
#include <stdio.h>

int main(void)
{
    if (plue_init(NULL) != 0) {
        fprintf(stderr, "Error: %s\n", plue_get_last_error());
        return 1;
    }

    plue_session_t session = plue_session_create(NULL);
    if (!session) {
        fprintf(stderr, "Error: %s\n", plue_get_last_error());
        return 1;
    }

    char *info = plue_session_get_info(session);
    printf("Session info: %s\n", info);
    plue_free_json(info);

    if (plue_session_update_title(session, "My Coding Session") != 0)
        fprintf(stderr, "Failed to update title: %s\n", plue_get_last_error());

    char *share = plue_session_create_share(session);
    char *url = plue_json_text(share, "/url");
    printf("Share info: %s\n", share ? share : plue_get_last_error());
    printf("Share it as %s\n", url ? url : plue_get_last_error());
    plue_free_string(url);
    plue_free_json(share);

    plue_session_destroy(session); /* gives the handle back; the session stays */
    plue_shutdown();
    return 0;
}
