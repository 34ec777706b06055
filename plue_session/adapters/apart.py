"""Long texts in memory of their own, which goes with them: the allocator would keep as much for each thread that has
made one."""

import mmap


def apart(parts):
    """Return texts in UTF-8, with commas between them, as one: a `mmap`, or b"" where there is nothing."""
    size = sum(map(len, parts)) + len(parts) - 1
    if size <= 0:
        return b""
    whole = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for number, part in enumerate(parts):
        if number:
            whole.write_byte(0x2C)
        whole.write(part)
    return whole
