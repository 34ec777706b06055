// The first example from Zig. `zig build` makes it (build.zig); by hand the header is translated once, then linked like
// any C library:
//
//     libdir="$(plue-session-config --libdir)"
//     zig translate-c -lc "$(plue-session-config --includedir)/plue_session.h" > plue.zig
//     zig build-exe first.zig -lc -L"$libdir" -rpath "$libdir" -lplue_session
const plue = @import("plue.zig");
const std = @import("std");

pub fn main() u8 {
    if (plue.plue_init(null) != 0) return fail();
    defer plue.plue_shutdown();

    const session = plue.plue_session_create(null) orelse return fail();
    defer plue.plue_session_destroy(session); // gives the handle back; the session stays

    if (plue.plue_session_update_title(session, "My Coding Session") != 0) return fail();

    const info = plue.plue_session_get_info(session) orelse return fail();
    defer plue.plue_free_json(info);
    std.debug.print("{s}\n", .{std.mem.span(info)});
    return 0;
}

fn fail() u8 {
    std.debug.print("Error: {s}\n", .{std.mem.span(plue.plue_get_last_error())});
    return 1;
}
