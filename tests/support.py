"""Build the library and C programs once, and run programs as a stranger's machine would: clean environment, deadline.

The library under test is built from a copy of the sources, named by their hash: nobody's edits reach a running test,
and what was built is found again. `plain`, `address` and `thread` are its three builds.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ROOT / "build" / "checked"
PROGRAMS = ROOT / "c_tests"
BUILDS = ("plain", "address", "thread")
TSAN = f"halt_on_error=1:second_deadlock_stack=1:suppressions={PROGRAMS / 'tsan.supp'}:print_suppressions=0"
#: Every run gets one: a test that hangs must fail.
DEADLINE = 180


#: What `make test` sets to have the Python half measured wherever it runs (tests/coverage_hook.py).
WATCHED = {
    name: os.environ[name]
    for name in ("PLUE_COVERAGE_HOOK", "COVERAGE_PROCESS_START", "PLUE_TREE")
    if "PLUE_COVERAGE_HOOK" in os.environ and name in os.environ
}


def hash_of(paths):
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(paths):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def alone(name):
    """One process at a time: test runs of several people share the folder."""
    CHECKED.mkdir(parents=True, exist_ok=True)
    with open(CHECKED / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sources():
    package = [path for path in (ROOT / "plue_session").rglob("*") if path.suffix in {".py", ".c", ".h", ".sql"}]
    inside = [path for path in package if path.relative_to(ROOT).parts[1] not in {"lib", "include"}]
    return [*inside, ROOT / "build_ffi.py", *(path for path in (ROOT / "include").iterdir() if path.is_file())]


class Library:
    """One build of the library. `root` is the tree that it was built in. `added` is a folder whose `add.py` extends it
    before that."""

    def __init__(self, build, added=None):
        self.build, self.added = build, added
        #: The measured lines must be those of the tree: links instead of copies. Tests of one tree at a time, then.
        self.watched = WATCHED if build == "plain" and not added else {}
        with alone("library"):
            more = [path for path in added.iterdir() if path.is_file()] if added else []
            self.prefix = f"{added.name}-{build}" if added else build
            name = f"{self.prefix}-{hash_of([*sources(), *more])}{'-watched' if self.watched else ''}"
            self.root = CHECKED / name
            if not (self.root / "complete").exists():
                self._make()
        self.package = self.root / "plue_session"
        self.lib, self.include = self.package / "lib", self.package / "include"
        self.path = self.lib / "libplue_session.so"

    def _make(self):
        for old in sorted(CHECKED.glob(f"{self.prefix}-*"), key=lambda path: path.stat().st_mtime)[:-2]:
            shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)
        for path in sources():
            to = self.root / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            if self.watched and path.suffix == ".py" and path.parent != ROOT:
                to.symlink_to(path)
            else:
                shutil.copy2(path, to)
        if self.added:
            run([sys.executable, self.added / "add.py", self.root], env=os.environ)
        arguments = [] if self.build == "plain" else ["--sanitize", self.build]
        run([sys.executable, "build_ffi.py", *arguments], cwd=self.root, env=os.environ)
        (self.root / "complete").touch()

    def compile(self, source, *flags, cxx=False):
        """Compile a C program against this build and return it."""
        source = Path(source)
        headers = [path for path in PROGRAMS.iterdir() if path.suffix == ".h"]
        sanitize = [] if self.build == "plain" else [f"-fsanitize={self.build}", "-fno-omit-frame-pointer"]
        compiler = ["g++", "-x", "c++", "-std=c++11"] if cxx else ["gcc", "-std=gnu11"]
        command = [
            *compiler,
            "-g",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            *sanitize,
            *flags,
            f"-I{PROGRAMS}",
            f"-I{self.include}",
            str(source),
            f"-L{self.lib}",
            "-lplue_session",
            f"-Wl,-rpath,{self.lib}",
            "-lpthread",
            "-lm",
            "-ldl",
        ]
        key = hashlib.sha256(
            "\0".join(command).encode() + source.read_bytes() + b"".join(path.read_bytes() for path in sorted(headers))
        )
        program = self.root / "programs" / f"{source.stem}-{key.hexdigest()[:12]}"
        with alone(f"compile-{source.stem}-{self.build}"):
            if not program.exists():
                program.parent.mkdir(exist_ok=True)
                run([*command, "-o", f"{program}.new"], env=os.environ)
                os.rename(f"{program}.new", program)
        return program


_libraries, _making = {}, threading.Lock()


def library(build="plain", added=None):
    with _making:
        if (build, added) not in _libraries:
            _libraries[build, added] = Library(build, added)
        return _libraries[build, added]


def environment(folder, watched=True, **more):
    """What a program gets: nothing of ours but a folder. No PATH, no HOME, no PYTHON… `watched` False: not even a look
    at its coverage, for programs whose own memory or time is what is judged."""
    return {
        "CHECK_DIR": str(folder),
        "PLUE_SESSION_DATA_DIR": str(folder),
        **(WATCHED if watched else {}),
        **{name: str(value) for name, value in more.items()},
    }


def run(command, *, env, timeout=DEADLINE, code=0, silent=False, **options):
    """Run to the end; it must end in time, with this exit code (None: any), and if `silent` without a word."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    done = subprocess.run(
        [str(part) for part in command],
        env=env,
        timeout=timeout,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        **options,
    )
    out, err = ((stream or b"").decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    assert code is None or done.returncode == code, (
        f"{command} ended with {done.returncode}\n{out[-4000:]}\n{err[-8000:]}"
    )
    assert not silent or (out, err) == ("", ""), f"{command} printed\n{out[-4000:]}\n{err[-4000:]}"
    done.out, done.err = out, err
    return done
