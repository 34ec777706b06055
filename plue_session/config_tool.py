"""plue-session-config: what a compiler needs to know of the installed library.

eval "cc app.c $(plue-session-config --cflags --libs)"
"""

import argparse
import os
import re
import sys

from plue_session import __version__

PACKAGE = os.path.dirname(os.path.abspath(__file__))
LIBRARY, INCLUDE = f"{PACKAGE}/lib", f"{PACKAGE}/include"
#: -Wl would end a path at its comma; build tools that merge equal words keep -Wl whole.
RPATH = "-Xlinker -rpath -Xlinker " if "," in LIBRARY else "-Wl,-rpath,"

#: What each flag prints, and what it means.
ANSWERS = {
    "cflags": (f"-I{INCLUDE}", "what the compiler needs to find plue_session.h"),
    "libs": (
        f"-L{LIBRARY} {RPATH}{LIBRARY} -lplue_session",
        "what the linker needs; the program finds the library again by itself",
    ),
    "includedir": (INCLUDE, "the folder of plue_session.h"),
    "libdir": (LIBRARY, "the folder of libplue_session.so"),
    "version": (__version__, "the library's version"),
    "pkgconfigdir": (os.path.join(LIBRARY, "pkgconfig"), "the folder of plue-session.pc, for PKG_CONFIG_PATH"),
    "suppressions": (
        os.path.join(PACKAGE, "suppressions"),
        "the folder of lsan.supp, tsan.supp and valgrind.supp, for programs under these tools",
    ),
    "cmakedir": (
        os.path.join(LIBRARY, "cmake", "PlueSession"),
        "the folder of PlueSessionConfig.cmake, for PlueSession_DIR",
    ),
}


def main(arguments=None):
    """Print the answers in the order they were asked for, on one line. Exit 0; 1 the library is not built; 2 usage."""
    parser = argparse.ArgumentParser(
        prog="plue-session-config", description="Say how to compile and link with plue_session."
    )
    parser.set_defaults(asked=[])
    for name, (_, meaning) in ANSWERS.items():
        parser.add_argument("--" + name, dest="asked", action="append_const", const=name, help=meaning)
    asked = parser.parse_args(arguments).asked
    if not asked:
        parser.error("nothing was asked; --help lists what can be")
    if not os.path.exists(os.path.join(LIBRARY, "libplue_session.so")):
        print(
            f"plue-session-config: there is no library in {LIBRARY}. "
            "Build it (make library) or install the package (pip install .).",
            file=sys.stderr,
        )
        return 1
    print(" ".join(quote(ANSWERS[name][0], name) for name in asked))
    return 0


def quote(answer, name):
    """Return the answer as `$(…)` in a command line may stand; in flags, as pkg-config does it, blanks of paths are
    escaped."""
    if name not in ("cflags", "libs"):
        return answer
    for path in (LIBRARY, INCLUDE):
        answer = answer.replace(path, re.sub(r"([^\w@%+=:,./-])", r"\\\1", path))
    return answer


if __name__ == "__main__":
    sys.exit(main())
