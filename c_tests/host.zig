//! A Zig program that keeps a session: the same calls as example.c, through translate-c's view of the header.
const std = @import("std");
const c = @import("c.zig");

var told: u32 = 0;

fn onEvent(kind: u8, event: [*c]const u8, data: ?*anyopaque) callconv(.c) void {
    _ = event;
    _ = data;
    if (kind == c.PLUE_EVENT_SESSION_UPDATED) _ = @atomicRmw(u32, &told, .Add, 1, .seq_cst);
}

fn expect(held: bool) void {
    if (!held) {
        std.debug.print("last error: {s}\n", .{std.mem.span(c.plue_get_last_error())});
        std.process.exit(1);
    }
}

pub fn main() void {
    expect(c.plue_session_create(null) == null);
    expect(c.plue_get_last_error_code() == c.PLUE_ERROR_NOT_INITIALIZED);
    expect(c.plue_init(null) == 0);
    const subscription = c.plue_event_subscribe(onEvent, null);
    expect(subscription != 0);
    const session = c.plue_session_create(null);
    expect(session != null);
    expect(c.plue_session_update_title(session, "From Zig \u{26a1}") == 0);
    const info = c.plue_session_get_info(session);
    expect(info != null);
    expect(std.mem.indexOf(u8, std.mem.span(info), "\"title\":\"From Zig \u{26a1}\"") != null);
    c.plue_free_json(info);
    expect(c.plue_session_get_info(null) == null);
    expect(c.plue_get_last_error_code() == c.PLUE_ERROR_INVALID_PARAM);
    const share = c.plue_session_create_share(session);
    expect(share != null);
    c.plue_free_json(share);
    expect(c.plue_session_delete(session) == 0);
    expect(c.plue_session_get_info(session) == null);
    expect(c.plue_get_last_error_code() == c.PLUE_ERROR_NOT_FOUND);
    c.plue_session_destroy(session);
    c.plue_shutdown();
    expect(@atomicLoad(u32, &told, .seq_cst) == 1);
}
