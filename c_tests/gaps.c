/* Readers that fall behind for good: each gap comes once, nothing comes after what is newer, nothing comes twice. */
#include "check.h"
#include "json.h"

#include <stdatomic.h>

enum { WRITERS = 4, READERS = 6 };

typedef struct reader {
    char ids[WRITERS][64];
    long last[WRITERS]; /* the number in the title that each writer's session had */
    double revision;    /* of the last gap */
    long gaps, since;
    atomic_int broken;
} reader;

static plue_session_t sessions[WRITERS];
static reader readers[READERS];
static atomic_int stop;

static void *write_on(void *number)
{
    plue_session_t mine = sessions[(uintptr_t)number];
    char title[32];
    for (long i = 1; !atomic_load(&stop); i++) {
        snprintf(title, sizeof title, "%ld", i);
        CHECK(plue_session_update_title(mine, title) == 0);
    }
    return NULL;
}

static void read_slowly(uint8_t type, const char *event, void *data)
{
    reader *mine = data;
    if (type == PLUE_EVENT_GAP) {
        double revision = json_number(event, "data.latestRevision");
        if (mine->gaps++ && revision <= mine->revision)
            atomic_store(&mine->broken, 1); /* the same gap again, or an older one */
        mine->revision = revision;
    } else if (type == PLUE_EVENT_SESSION_UPDATED) {
        char *id = json_text(event, "sessionId"), *title = json_text(event, "data.title");
        for (int i = 0; i < WRITERS && title; i++)
            if (!strcmp(mine->ids[i], id)) {
                if (atol(title) <= mine->last[i])
                    atomic_store(&mine->broken, 2); /* it has been here already */
                mine->last[i] = atol(title);
            }
        free(id);
        free(title);
        if (++mine->since % 500 == 0)
            pause_ms(100);
    }
}

int main(void)
{
    const char *time = getenv("CHECK_SECONDS");
    int crowd = getenv("CHECK_PART") ? 100 : 1500;
    char config[4300];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\",\"replay\":{\"limit\":16,\"ageMs\":120000}}", data_dir());
    CHECK(plue_init(config) == 0);
    for (int i = 0; i < crowd; i++) /* the more there are, the longer it takes to put a gap together */
        plue_session_destroy(plue_session_create(NULL));
    for (int i = 0; i < WRITERS; i++)
        CHECK(sessions[i] = plue_session_create(NULL));
    for (int i = 0; i < READERS; i++) {
        for (int n = 0; n < WRITERS; n++)
            snprintf(readers[i].ids[n], sizeof readers[i].ids[n], "%s", text(plue_session_get_id(sessions[n])));
        CHECK(plue_event_subscribe(read_slowly, &readers[i]));
    }
    pthread_t threads_[WRITERS];
    for (uintptr_t i = 0; i < WRITERS; i++)
        threads_[i] = run(write_on, (void *)i);
    pause_ms((int)(3000 * (time ? atof(time) : 2)));
    atomic_store(&stop, 1);
    for (int i = 0; i < WRITERS; i++)
        end(threads_[i]);
    pause_ms(500);
    plue_shutdown();
    long gaps = 0;
    for (int i = 0; i < READERS; i++) {
        CHECK(atomic_load(&readers[i].broken) == 0);
        gaps += readers[i].gaps;
    }
    printf("%ld gaps\n", gaps);
    return 0;
}
