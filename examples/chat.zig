// A conversation in a terminal, from Zig: one thread, one poll() on what is typed and on what happens.
//
//     eval "zig build-exe chat.zig -lc $(plue-session-config --cflags --libs | sed 's/-Wl,-rpath,/-rpath /')"
//     ./chat [ID_OR_KEY]    that session or a new one, of the server that PLUE_OPENCODE_URL names, or with the agent in
//                           this folder whose command PLUE_AGENT is: codex-acp, claude-agent-acp
//
// Ctrl-C ends the turn, and between two turns the program; so does the end of the input.
const std = @import("std");
const c = @cImport({
    @cDefine("_GNU_SOURCE", "1");
    @cInclude("plue_session.h");
    @cInclude("poll.h");
    @cInclude("signal.h");
    @cInclude("stdio.h");
    @cInclude("stdlib.h");
    @cInclude("string.h");
    @cInclude("sys/signalfd.h");
    @cInclude("unistd.h");
});

const Text = ?[*:0]u8;

var session: c.plue_session_t = null;
var turn: Text = null; // id of our turn while it runs
var asked: Text = null; // id of the permission that it waits for
var part: Text = null; // id of the part that is being said
var shown: i64 = 0; // its bytes on the screen
var is_answer = false; // whether the model says it

fn keep(id: *Text, text: Text) void {
    c.plue_free_string(id.*);
    id.* = text;
}

fn is(json: Text, pointer: [*:0]const u8, expected: ?[*:0]const u8) bool {
    const found = c.plue_json_text(json, pointer) orelse return false;
    defer c.plue_free_string(found);
    return c.strcmp(found, expected orelse return false) == 0;
}

// Print a text of the JSON, if it has one there, from its byte `from` on; return the text's length.
fn print(json: Text, pointer: [*:0]const u8, from: i64) i64 {
    const text = c.plue_json_text(json, pointer) orelse return 0;
    defer c.plue_free_string(text);
    const length: i64 = @intCast(c.strlen(text));
    if (from < length) _ = c.printf("%s", text + @as(usize, @intCast(from)));
    return length;
}

fn complain() void {
    _ = c.puts(c.plue_get_last_error());
}

// The session of this name; without one a new session, with the agent if there is one.
fn find(name: ?[*:0]const u8) c.plue_session_t {
    const agent = c.getenv("PLUE_AGENT");
    if (name != null) return c.plue_session_open(name);
    if (agent == null) return c.plue_session_create(null);
    const folder = c.getcwd(null, 0);
    defer c.free(folder);
    const in = c.plue_json_quote(folder) orelse return null;
    defer c.plue_free_string(in);
    const command = c.plue_json_quote(agent) orelse return null;
    defer c.plue_free_string(command);
    const options = std.fmt.allocPrintSentinel(
        std.heap.c_allocator,
        "{{\"agent\":{{\"kind\":\"acp\",\"worktree\":{s},\"command\":{s}}}}}",
        .{ in, command },
        0,
    ) catch return null;
    defer std.heap.c_allocator.free(options);
    return c.plue_session_create_with(options);
}

// Ask for the permission that is waited for, if any is.
fn ask() void {
    const waiting = c.plue_session_permissions(session);
    defer c.plue_free_json(waiting);
    keep(&asked, c.plue_json_text(waiting, "/0/id"));
    if (asked == null) return;
    _ = c.printf("May it? ");
    _ = print(waiting, "/0/action", 0);
    _ = c.printf(" ");
    _ = print(waiting, "/0/title", 0);
    _ = c.puts(" (once, always, reject)");
}

// Print what is new of a part; when it is whole all of it, in case some was lost.
fn stream(event: Text) void {
    const offset = c.plue_json_int(event, "/data/offset", -1);
    if (offset == 0) {
        keep(&part, c.plue_json_text(event, "/data/partId"));
        shown = 0;
    }
    if (offset == shown and is(event, "/data/partId", part)) {
        shown += print(event, "/data/delta", 0);
    } else if (is_answer and c.plue_json_count(event, "/data/part") > 0) {
        _ = print(event, "/data/part/text", if (is(event, "/data/part/id", part)) shown else 0);
        _ = print(event, "/data/part/tool/name", 0);
        _ = c.puts("");
    }
}

fn hear(event: Text) void {
    switch (c.plue_json_int(event, "/number", -1)) {
        c.PLUE_EVENT_MESSAGE_CREATED => is_answer = is(event, "/data/role", "assistant"),
        c.PLUE_EVENT_MESSAGE_PART_UPDATED => stream(event),
        c.PLUE_EVENT_PERMISSION_ASKED, c.PLUE_EVENT_PERMISSION_REPLIED => ask(), // replied: by an abort, too
        c.PLUE_EVENT_TURN_FINISHED => if (turn) |ours| {
            if (!is(event, "/data/turnId", ours)) return;
            _ = print(event, "/data/reason", 0);
            _ = c.puts("");
            keep(&turn, null);
        },
        c.PLUE_EVENT_GAP => { // more has happened than is kept: this is how things stand
            if (!is(event, "/data/observation/turn/turnId", turn)) keep(&turn, null);
            ask();
        },
        else => {},
    }
}

// Begin a turn with what was typed, or let it be the answer to the permission.
fn say(text: [*:0]const u8) void {
    if (asked) |permission| {
        if (c.plue_session_reply_permission(session, permission, text) != 0) return complain();
        return keep(&asked, null);
    }
    if (text[0] == 0) return;
    const quoted = c.plue_json_quote(text) orelse return complain();
    defer c.plue_free_string(quoted);
    const input = std.fmt.allocPrintSentinel(std.heap.c_allocator, "{{\"text\":{s}}}", .{quoted}, 0) catch return;
    defer std.heap.c_allocator.free(input);
    const begun = c.plue_session_run_turn(session, input, 0) orelse return complain(); // 0: an event tells of its end
    defer c.plue_free_json(begun);
    keep(&turn, c.plue_json_text(begun, "/turnId"));
}

// The next line, without its end; null at the end of the input. Nothing is read ahead: poll() would not see it.
fn typed(line: *[65536:0]u8) ?[*:0]const u8 {
    var length: usize = 0;
    while (length < line.len and c.read(0, &line[length], 1) == 1 and line[length] != '\n') length += 1;
    const ended = length == 0 and line[0] != '\n';
    line[length] = 0;
    return if (ended) null else line;
}

pub fn main() u8 {
    var held: c.sigset_t = undefined;
    _ = c.sigemptyset(&held);
    _ = c.sigaddset(&held, c.SIGINT);
    _ = c.sigprocmask(c.SIG_BLOCK, &held, null);
    const words = std.os.argv;
    if (c.plue_init(null) == 0) session = find(if (words.len > 1) words[1] else null);
    const observer = if (session != null) c.plue_session_observe(session, null) else null;
    if (observer == null) {
        complain();
        return 1;
    }
    defer c.plue_shutdown();
    var places = [_]c.struct_pollfd{
        .{ .fd = 0, .events = c.POLLIN, .revents = 0 },
        .{ .fd = c.plue_session_observer_fd(observer), .events = c.POLLIN, .revents = 0 },
        .{ .fd = c.signalfd(-1, &held, c.SFD_CLOEXEC), .events = c.POLLIN, .revents = 0 },
    };
    var interrupt: c.struct_signalfd_siginfo = undefined;
    var line: [65536:0]u8 = undefined;
    while (true) {
        _ = c.fflush(null);
        places[0].fd = if (turn != null and asked == null) -1 else 0; // what is typed before its time waits
        _ = c.poll(&places, 3, -1);
        while (c.plue_session_observer_next(observer, 0)) |event| {
            defer c.plue_free_json(event);
            hear(event);
        }
        if (places[2].revents != 0) {
            _ = c.read(places[2].fd, &interrupt, @sizeOf(c.struct_signalfd_siginfo));
            const running = turn orelse return 0;
            if (c.plue_session_abort_turn(session, running) != 0) complain();
        } else if (places[0].revents != 0) {
            line[0] = 0;
            if (typed(&line)) |text| say(text) else if (asked != null) say("reject") else if (turn == null) return 0;
        }
    }
}
