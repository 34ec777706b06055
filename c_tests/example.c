/* The smallest useful program: create, info, title, share, delete. */
#include <stdio.h>
#include <stdlib.h>

#include <plue_session.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, plue_get_last_error());
    return EXIT_FAILURE;
}

int main(void)
{
    if (plue_init(NULL) != 0)
        return failed("init");

    plue_session_t session = plue_session_create(NULL);
    if (!session)
        return failed("create");

    char *info_json = plue_session_get_info(session);
    if (!info_json)
        return failed("info");
    printf("Session info: %s\n", info_json);
    plue_free_json(info_json);

    if (plue_session_update_title(session, "My Coding Session") != 0)
        return failed("title");

    char *share_json = plue_session_create_share(session);
    if (!share_json)
        return failed("share");
    printf("Share info: %s\n", share_json);
    plue_free_json(share_json);

    if (plue_session_delete(session) != 0)
        return failed("delete");
    plue_session_destroy(session);
    plue_shutdown();
    return EXIT_SUCCESS;
}
