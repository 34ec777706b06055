// poll(2) from Zig: a loop of one's own. Build it with
//
//     eval "zig build-exe poll.zig -lc $(plue-session-config --cflags --libs | sed 's/-Wl,-rpath,/-rpath /')"
//
// Alone, a thread of it makes a session and deletes it. With an argument it waits for somebody who does:
// plue-session create; plue-session delete ID
const std = @import("std");
const c = @cImport({
    @cInclude("plue_session.h");
    @cInclude("poll.h");
    @cInclude("stdio.h");
    @cInclude("stdlib.h");
    @cInclude("string.h");
});

fn fail() noreturn {
    _ = c.printf("Error: %s\n", c.plue_get_last_error());
    c.exit(1);
}

// These calls may wait for the disk, or for a server: not on the loop's thread.
fn change() void {
    const session = c.plue_session_create(null) orelse fail();
    defer c.plue_session_destroy(session);
    if (c.plue_session_update_title(session, "Made elsewhere") != 0) fail();
    if (c.plue_session_delete(session) != 0) fail();
}

var events: c_int = 0;

// Take all events that there are. Returns whether to wait for more: until a session is deleted.
//
// Who needs no cursors may read the default queue: with plue_event_fd() and plue_event_poll() the rest is the same.
fn take(observer: c.plue_session_observer_t) bool {
    var more = true;
    while (c.plue_session_observer_next(observer, 0)) |event| {
        defer c.plue_free_json(event);
        const kind = c.plue_json_text(event, "/type") orelse fail();
        defer c.plue_free_string(kind);
        _ = c.printf("%s\n", kind);
        events += 1;
        if (c.strcmp(kind, "session.deleted") == 0) more = false;
    }
    if (c.plue_get_last_error_code() != c.PLUE_OK) fail();
    _ = c.fflush(null);
    return more;
}

pub fn main() !void {
    if (c.plue_init(null) != 0) fail();
    const all: c.plue_session_t = @ptrFromInt(1); // PLUE_ALL_SESSIONS, which is a cast
    const observer = c.plue_session_observe(all, null) orelse fail();
    var ready: c.struct_pollfd = .{ .fd = c.plue_session_observer_fd(observer), .events = c.POLLIN, .revents = 0 };
    if (ready.fd < 0) fail();
    _ = c.printf("watching\n");
    _ = c.fflush(null);
    const worker: ?std.Thread = if (std.os.argv.len == 1) try std.Thread.spawn(.{}, change, .{}) else null;
    var wakeups: c_int = 1;
    _ = c.poll(&ready, 1, -1);
    while (take(observer)) : (wakeups += 1) _ = c.poll(&ready, 1, -1);
    if (worker) |thread| thread.join();
    c.plue_session_observer_close(observer); // and the descriptor, which nobody waits for any more
    c.plue_shutdown();
    _ = c.printf("%d events, %d wake-ups\n", events, wakeups);
}
