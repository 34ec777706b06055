/* A host that leaves by exit() at once, without plue_shutdown, while the library still loads what TLS needs. */
#include "check.h"

int main(void)
{
    start(",\"backend\":{\"kind\":\"opencode\",\"url\":\"https://127.0.0.1:1\"}");
    exit(0);
}
