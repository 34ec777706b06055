/*
 * poll(2): a loop of one's own. Build it with
 *
 *     eval "cc poll.c -o poll -pthread $(plue-session-config --cflags --libs)"
 *
 * Alone, a thread of it makes a session and deletes it. With an argument it waits for somebody who does:
 * plue-session create; plue-session delete ID
 */
#include "loop.h"

#include <poll.h>

int main(int count, char **words)
{
    (void)words;
    struct pollfd ready = {.fd = begin(count == 1), .events = POLLIN};
    do
        poll(&ready, 1, -1);
    while (take());
    return finish();
}
