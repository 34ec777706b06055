// zig build, with plue-session-config in PATH: translates the header and makes zig-out/bin/first from first.zig.
const std = @import("std");

pub fn build(b: *std.Build) void {
    const include = ask(b, "--includedir");
    const lib: std.Build.LazyPath = .{ .cwd_relative = ask(b, "--libdir") };
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});

    const header = b.addTranslateC(.{
        .root_source_file = .{ .cwd_relative = b.pathJoin(&.{ include, "plue_session.h" }) },
        .target = target,
        .optimize = optimize,
    });
    const program = b.addExecutable(.{
        .name = "first",
        .root_module = b.createModule(.{
            .root_source_file = b.path("first.zig"),
            .target = target,
            .optimize = optimize,
            .link_libc = true,
            .imports = &.{.{ .name = "plue.zig", .module = header.createModule() }},
        }),
    });
    program.root_module.addLibraryPath(lib);
    program.root_module.addRPath(lib);
    program.root_module.linkSystemLibrary("plue_session", .{ .use_pkg_config = .no });
    b.installArtifact(program);
}

fn ask(b: *std.Build, question: []const u8) []const u8 {
    return std.mem.trim(u8, b.run(&.{ "plue-session-config", question }), "\n");
}
