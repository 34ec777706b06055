//! As host.c, from Zig: translate-c's view of the header, whose types say how each function is called.
const std = @import("std");
const c = @cImport({
    @cDefine("_GNU_SOURCE", "1");
    @cInclude("plue_session.h");
    @cInclude("stdio.h");
    @cInclude("stdlib.h");
    @cInclude("string.h");
});

const names = .{
    "init",                   "shutdown",                    "get_version",              "version_number",
    "error_name",             "json_quote",                  "json_text",                "json_int",
    "json_count",             "get_app_info",                "session_create",           "session_create_with",
    "session_get_or_create",  "session_open",                "session_fork",             "session_get_info",
    "session_peek_info",      "session_peek_id",             "session_get_id",           "session_list",
    "session_query",          "session_count",               "session_update_title",     "session_update",
    "session_initialize",     "session_delete",              "session_abort",            "session_abort_turn",
    "session_create_share",   "session_unshare",             "session_validate_share",   "session_destroy",
    "session_batch",          "session_sync",                "event_poll",               "session_observation",
    "session_observe",        "session_observer_next",       "session_observer_cursor",  "session_observer_close",
    "session_enqueue",        "session_run_turn",            "session_cancel_turns",     "session_messages",
    "session_permissions",    "session_reply_permission",    "session_questions",        "session_reply_question",
    "session_usage",          "session_todos",               "session_diff",             "session_choices",
    "session_inputs",         "session_cancel_inputs",       "session_cancel_inputs_from", "session_vacuum",
    "session_relay_spawn",    "session_relay_attach",        "session_relay_heartbeat",  "session_relay_count_message",
    "session_relay_terminate", "session_relay_clean",        "session_relay_get",        "session_relay_next_state",
    "session_metrics",
};

/// One argument of a call, as JSON; texts are the library's, and freed in the end.
const Arguments = struct {
    json: [4]?[*:0]u8 = .{null} ** 4,
    count: usize = 0,

    fn add(json: [*c]const u8, given: ?*anyopaque) callconv(.c) c_int {
        const self: *Arguments = @ptrCast(@alignCast(given));
        self.json[self.count] = c.strdup(json);
        self.count += 1;
        return 0;
    }

    fn get(self: *const Arguments, comptime T: type, place: usize) T {
        const json = self.json[place];
        const is_null = json == null or c.strcmp(json, "null") == 0;
        if (T == [*c]const u8) return if (is_null) null else c.plue_json_text(json, "");
        const number = c.plue_json_int(json, "", 0);
        if (@typeInfo(T) == .int) return @intCast(number);
        return @ptrFromInt(@as(usize, @intCast(number))); // a handle
    }
};

/// What a call has returned.
const Result = struct {
    number: ?i64 = null,
    text: ?[*:0]const u8 = null,
    owned: ?[*:0]u8 = null,
    failed: bool = false,

    fn of(value: anytype) Result {
        const T = @TypeOf(value);
        if (T == void) return .{};
        if (T == [*c]u8) return .{ .text = value, .owned = value, .failed = value == null };
        if (T == [*c]const u8) return .{ .text = value, .failed = value == null };
        if (@typeInfo(T) == .int) return .{ .number = value, .failed = value == -1 };
        const handle: usize = @intFromPtr(value);
        return .{ .number = if (handle == 0) null else @intCast(handle), .failed = handle == 0 };
    }
};

fn invoke(comptime function: anytype, given: *const Arguments) Result {
    var arguments: std.meta.ArgsTuple(@TypeOf(function)) = undefined;
    inline for (0..arguments.len) |place| arguments[place] = given.get(@TypeOf(arguments[place]), place);
    return Result.of(@call(.auto, function, arguments));
}

fn orNull(json: ?[*:0]const u8) [*:0]const u8 {
    return json orelse "null";
}

fn print(comptime format: []const u8, values: anytype) void {
    const text = std.fmt.allocPrintSentinel(std.heap.c_allocator, format, values, 0) catch return;
    defer std.heap.c_allocator.free(text);
    _ = c.fputs(text, c.stdout);
}

fn answer(line: [*c]const u8, made: Result) void {
    const failed = made.failed and c.plue_get_last_error_code() != 0;
    const failure = if (failed) c.plue_json_text(c.plue_get_last_error_json(), "/error") else null;
    defer c.plue_free_json(failure);
    print("{{\"id\":{d},\"at\":0,\"error\":{s},\"value\":", .{ c.plue_json_int(line, "/id", -1), orNull(failure) });
    if (made.number) |number| {
        print("{d}}}\n", .{number});
    } else {
        const quoted = if (made.text) |text| c.plue_json_quote(text) else null;
        defer c.plue_free_string(quoted);
        print("{s}}}\n", .{orNull(quoted)});
    }
    _ = c.fflush(null);
}

fn perform(line: [*c]const u8) void {
    const name = c.plue_json_text(line, "/call");
    defer c.plue_free_string(name);
    var given = Arguments{};
    _ = c.plue_json_each(line, "/arguments", Arguments.add, &given);
    inline for (names) |known| {
        if (c.strcmp(name, known) == 0) {
            const made = invoke(@field(c, "plue_" ++ known), &given);
            answer(line, made);
            c.plue_free(made.owned);
        }
    }
    for (given.json) |json| c.free(json);
}

pub fn main() void {
    var line: [*c]u8 = null;
    var room: usize = 0;
    while (c.getline(&line, &room, c.stdin) > 0) perform(line);
}
