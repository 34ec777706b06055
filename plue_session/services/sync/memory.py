"""Notes about sessions that are kept beside the store, and may be forgotten."""

#: Sessions of which something is remembered: when they were refreshed, what was heard, that they ended.
MOST = 16_384


def remember(memory, key, value):
    """Note the newest thing about a session; the oldest notes are forgotten."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST:
        del memory[next(iter(memory))]
