/* A host with a SIGINT handler of its own is sent SIGINT all the time while the library starts: it hears each, and
 * lives. */
#include "check.h"

#include <signal.h>
#include <stdatomic.h>

static volatile sig_atomic_t heard;
static atomic_int starting = 1;

static void on_interrupt(int number)
{
    heard += number == SIGINT;
}

static void *send_interrupts(void *host)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (atomic_load(&starting)) {
        pthread_kill(*(pthread_t *)host, SIGINT);
        sched_yield();
    }
    return NULL;
}

int main(void)
{
    struct sigaction mine = {.sa_handler = on_interrupt}, after; /* without SA_RESTART: system calls end early */
    pthread_t host = pthread_self(), sender;
    sigaction(SIGINT, &mine, NULL);
    pthread_create(&sender, NULL, send_interrupts, &host);
    start("");
    atomic_store(&starting, 0);
    pthread_join(sender, NULL);
    sigaction(SIGINT, NULL, &after);
    CHECK(heard > 0 && after.sa_handler == on_interrupt);
    plue_shutdown();
    return 0;
}
