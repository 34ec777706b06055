/* A host that is not linked with the library: it loads argv[1] privately, uses it, and unloads it. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(expression) ((expression) ? (void)0 : (fprintf(stderr, "%d: %s\n", __LINE__, #expression), exit(1)))

int main(int count, char **arguments)
{
    NEED(count == 3);
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        NEED(library);
        int (*init)(const char *) = (int (*)(const char *))dlsym(library, "plue_init");
        void *(*create)(const char *) = (void *(*)(const char *))dlsym(library, "plue_session_create");
        char *(*list)(void) = (char *(*)(void))dlsym(library, "plue_session_list");
        void (*give_back)(char *) = (void (*)(char *))dlsym(library, "plue_free_json");
        void (*stop)(void) = (void (*)(void))dlsym(library, "plue_shutdown");
        const char *(*error)(void) = (const char *(*)(void))dlsym(library, "plue_get_last_error");
        NEED(init && create && list && give_back && stop && error);
        NEED(!dlsym(library, "plue_deinit") && !dlsym(library, "plue_message_send") &&
             !dlsym(library, "core__finish_text"));
        if (init(arguments[2]) != 0) {
            fprintf(stderr, "%s\n", error());
            return 1;
        }
        NEED(create(NULL));
        char *sessions = list();
        NEED(sessions && !strncmp(sessions, "[{", 2));
        give_back(sessions);
        stop();
        NEED(dlclose(library) == 0);
    }
    return 0;
}
