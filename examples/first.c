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
    if (share) {
        char *link = plue_json_text(share, "/link");
        printf("Share info: %s\nWhoever has this gets in: %s\n", share, link ? link : plue_get_last_error());
        plue_free_string(link);
        plue_free_json(share);
    } else {
        fprintf(stderr, "Failed to share: %s\n", plue_get_last_error());
    }

    plue_session_destroy(session); /* gives the handle back; the session stays */
    plue_shutdown();
    return 0;
}
