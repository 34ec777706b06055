/*
 * An agent of the Agent Client Protocol that says what time it is: as little else as it can.
 *
 *     speaker PIECES INTERVAL_US
 *
 * A prompt is answered with so many chunks, one each interval; the text of each is the monotonic time in ns right
 * before it was written.
 */
#include "bench.h"

static char *line;
static size_t room;

static void answer(long id, const char *result)
{
    char text[256];
    int length = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":%s}\n", id, result);
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        exit(1);
}

static void speak(int pieces, int64_t interval_ns)
{
    for (int i = 0; i < pieces; i++) {
        char text[256];
        sleep_ns(interval_ns);
        int length = snprintf(
            text, sizeof text,
            "{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{\"sessionId\":\"s\",\"update\":"
            "{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"type\":\"text\",\"text\":"
            "\"%lld \"}}}}\n",
            (long long)now_ns());
        if (write(STDOUT_FILENO, text, (size_t)length) != length)
            exit(1);
    }
}

int main(int count, char **word)
{
    if (count != 3)
        return 2;
    while (getline(&line, &room, stdin) > 0) {
        const char *found = strstr(line, "\"id\":");
        long id = found ? strtol(found + 5, NULL, 10) : -1;
        if (strstr(line, "\"initialize\""))
            answer(id, "{\"protocolVersion\":1,\"agentCapabilities\":{},\"authMethods\":[]}");
        else if (strstr(line, "\"session/new\""))
            answer(id, "{\"sessionId\":\"s\"}");
        else if (strstr(line, "\"session/prompt\""))
            speak(atoi(word[1]), atoll(word[2]) * 1000), answer(id, "{\"stopReason\":\"end_turn\"}");
        else if (found)
            answer(id, "{}");
    }
    return 0;
}
