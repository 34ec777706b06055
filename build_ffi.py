"""Build libplue_session.so: emit, declare to cffi, compile.

    python build_ffi.py [--out plue_session] [--sanitize address|thread] [--debug]

Puts lib/libplue_session.so, its SONAME twin, the guard program, pkg-config and CMake files, and include/ under `--out`
(the package by default: the library belongs beside the Python half it was built with). Linux; nothing here is in the
way of macOS.
"""

import argparse
import compileall
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig

from plue_session import __version__
from plue_session.capi import emit

ROOT = os.path.dirname(os.path.abspath(__file__))
CAPI = os.path.join(ROOT, "plue_session", "capi")
SOURCES = (
    "thread.c",
    "spawn.c",
    "forks.c",
    "text.c",
    "reader.c",
    "json.c",
    "relay.c",
    "memory.c",
    "lifecycle.c",
    "snapshots.c",
    "session_table.c",
    "aliases.c",
    "handles.c",
    "calls.c",
    "crossings.c",
    "executors.c",
    "requests.c",
    "awake.c",
    "bells.c",
    "queues.c",
    "channels.c",
    "feed.c",
    "descriptors.c",
    "default_queue.c",
    "observers.c",
    "events.c",
    "submissions.c",
    "turns.c",
    "watch.c",
    "children.c",
    "copies.c",
    "find.c",
    "start.c",
    "interrupt.c",
    "pythread.c",
    "host.c",
)
#: A program of its own, which outlives the host by a moment: see the comment at its top.
GUARD = os.path.join(ROOT, "plue_session", "adapters", "child", "guard.c")
SONAME = f"libplue_session.so.{emit.ABI}"


class CannotBuild(Exception):
    """What is missing on this machine, and what to do about it, on one line."""


def libpython_folder():
    """Return the folder that this Python's shared library is linked from; `CannotBuild` when there is none."""
    name, python = (
        sysconfig.get_config_var("LDLIBRARY") or "",
        f"Python {sysconfig.get_python_version()} ({sys.executable})",
    )
    choose = "or choose another Python (make run PYTHON=/path/to/python3; /path/to/python3 -m pip install .)."
    folders = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_exec_prefix, "lib")]
    found = [folder for folder in folders if folder and os.path.exists(os.path.join(folder, name))]
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not found:
        raise CannotBuild(
            f"{python} has no shared libpython to embed: install it (Debian: apt-get install python3-dev; "
            f"pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install), {choose}"
        )
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        raise CannotBuild(
            f"{python} has no headers (Python.h): install them (Debian: apt-get install python3-dev), {choose}"
        )
    if not shutil.which(compiler()[0]):
        raise CannotBuild(
            f"there is no C compiler ({compiler()[0]}): install one (Debian: apt-get install gcc) or name it (CC=...)."
        )
    return found[0]


def compiler():
    """Return the C compiler that cffi will use, as the beginning of a command."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def build(out, sanitize=None, debug=False, python=sys.executable, site=None, work=None):
    """Build into `out` and return the library's path.

    `python` is the interpreter whose environment the library uses when there is none around it, `site` the folder that
    holds cffi should a host's own Python lack it. Objects are made in `work`. `CannotBuild` says what is missing.
    """
    libdir = libpython_folder()
    site = site or sysconfig.get_path("platlib")
    import cffi

    work = work or os.path.join(ROOT, "build", sanitize or "release")
    generated = os.path.join(work, "generated")
    os.makedirs(generated, exist_ok=True)
    os.makedirs(os.path.join(out, "lib"), exist_ok=True)
    os.makedirs(os.path.join(out, "include"), exist_ok=True)
    _write(os.path.join(generated, "core_tables.h"), emit.tables())
    _write(os.path.join(generated, "core_bootstrap.h"), emit.bootstrap())
    _write(os.path.join(generated, "exports.map"), emit.exports())
    _write(os.path.join(generated, "plue_session.h"), emit.header())

    ffi = cffi.FFI()
    ffi.embedding_api("")
    ffi.cdef(emit.declarations() + '\nextern "Python+C" { int core_python_serve(int executor, int number); }\n')
    ffi.embedding_init_code(emit.embedded())
    flags = [
        "-std=gnu11",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Wno-cast-function-type",
        "-fno-omit-frame-pointer",
    ]
    flags += [f"-fsanitize={sanitize}", "-g", "-O1"] if sanitize else ["-g", "-O0"] if debug else ["-O2"]
    # now: to look a symbol up at its first call takes 3 KB of the caller's stack, which may be the least that a thread
    # can have.
    link = [
        f"-Wl,-rpath,{libdir}",
        "-Wl,--disable-new-dtags",
        f"-Wl,-soname,{SONAME}",
        "-Wl,-z,nodelete",
        "-Wl,-z,now",
        f"-Wl,--version-script={os.path.join(generated, 'exports.map')}",
    ]
    link += [f"-fsanitize={sanitize}"] if sanitize else ["-Wl,-z,defs"]
    ffi.set_source(
        "_plue_session",
        '#include "core.h"\n#include "core_tables.h"\nint core_python_serve(int executor, int number);\n'
        "static int cffi_start_python(void);\nint core__start_cffi(void) { return cffi_start_python(); }\n"
        + emit.shims(),
        sources=list(SOURCES),
        include_dirs=[CAPI, generated],
        library_dirs=[libdir],
        libraries=["m"],
        define_macros=[("CORE_PYTHON", _c_string(python)), ("CORE_SITE", _c_string(site))],
        extra_compile_args=flags,
        extra_link_args=link,
    )
    for name in SOURCES:  # the compiler leaves its objects beside the sources: not in the package
        shutil.copy(os.path.join(CAPI, name), os.path.join(work, name))
    built = ffi.compile(tmpdir=work, target="libplue_session.*")
    library = os.path.join(out, "lib", "libplue_session.so")
    for name in (library, os.path.join(out, "lib", SONAME)):  # wheels carry no symlinks: the SONAME is a second copy
        shutil.copy(built, name + ".new")
        os.replace(name + ".new", name)
    guard = os.path.join(out, "lib", "plue-session-guard")
    subprocess.run([*compiler(), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", guard + ".new", GUARD], check=True)
    os.replace(guard + ".new", guard)
    for name in ("plue_session.h", "module.modulemap"):
        shutil.copy(os.path.join(ROOT, "include", name), os.path.join(out, "include", name))
    _package_files(os.path.join(out, "lib"))
    return library


def _package_files(lib):
    os.makedirs(os.path.join(lib, "pkgconfig"), exist_ok=True)
    os.makedirs(os.path.join(lib, "cmake", "PlueSession"), exist_ok=True)
    _write(os.path.join(lib, "pkgconfig", "plue-session.pc"), _PKG_CONFIG.format(version=__version__))
    _write(os.path.join(lib, "cmake", "PlueSession", "PlueSessionConfig.cmake"), _CMAKE.replace("@SONAME@", SONAME))
    _write(
        os.path.join(lib, "cmake", "PlueSession", "PlueSessionConfigVersion.cmake"),
        _CMAKE_VERSION.replace("@VERSION@", __version__),
    )


def _c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


_PKG_CONFIG = """prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: plue-session
Description: AI-coding sessions for native programs
Version: {version}
Libs: -L${{libdir}} -Wl,-rpath,${{libdir}} -lplue_session
Cflags: -I${{includedir}}
"""

_CMAKE = """# What is installed keeps the way to the library, unless the project has ways of its own.
if(NOT DEFINED CMAKE_INSTALL_RPATH AND NOT DEFINED CMAKE_INSTALL_RPATH_USE_LINK_PATH)
  set(CMAKE_INSTALL_RPATH_USE_LINK_PATH TRUE)
endif()
get_filename_component(_plue_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." REALPATH)
if(_plue_prefix MATCHES ",")  # -Wl,-rpath,PATH would end at the comma
  foreach(_plue_kind EXECUTABLE_RUNTIME_C EXECUTABLE_RUNTIME_CXX SHARED_LIBRARY_RUNTIME_C SHARED_LIBRARY_RUNTIME_CXX)
    set(CMAKE_${_plue_kind}_FLAG "-Xlinker -rpath -Xlinker ")
  endforeach()
endif()
if(NOT TARGET plue::session)
  add_library(plue::session SHARED IMPORTED)
  set_target_properties(plue::session PROPERTIES
    IMPORTED_LOCATION "${_plue_prefix}/lib/libplue_session.so"
    IMPORTED_SONAME "@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${_plue_prefix}/include")
endif()
set(PlueSession_FOUND TRUE)
"""

_CMAKE_VERSION = """set(PACKAGE_VERSION "@VERSION@")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
"""

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Build libplue_session.so")
    arguments.add_argument("--out", default=os.path.join(ROOT, "plue_session"))
    arguments.add_argument("--sanitize", choices=["address", "thread"])
    arguments.add_argument("--debug", action="store_true")
    options = arguments.parse_args()
    try:
        print(build(os.path.abspath(options.out), options.sanitize, options.debug))
        # The embedded interpreter writes no bytecode: without it, each start would compile the package anew (40 ms).
        # What is installed as a wheel, the installer compiles.
        compileall.compile_dir(os.path.abspath(options.out), quiet=1)
    except CannotBuild as missing:
        sys.exit(f"plue_session cannot be built: {missing}")
