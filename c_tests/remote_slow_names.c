/* For LD_PRELOAD: the names under .slow take a minute to be looked up, and then have no address. All others are as they
 * are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    int asks = !hints || !(hints->ai_flags & AI_NUMERICHOST); /* else it is not looked up */
    if (asks && node && strlen(node) > 5 && !strcmp(node + strlen(node) - 5, ".slow")) {
        sleep(60);
        return EAI_AGAIN;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, found);
}
