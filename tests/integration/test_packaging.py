"""What `pip install .` gives to somebody who has never seen the tree: built once, from the source archive."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

import build_ffi
from plue_session import config_tool
from tests import support

NOT_SOURCES = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info")
ARCHIVE = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"


def clean(**more):
    """An environment that knows nothing of this tree: what pip and a compiler need."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME") or name.startswith(("PIP_", "SSL_", "REQUESTS_")) or name.lower().endswith("_proxy")
    }
    return {**kept, **more}


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A copy of the sources, without what was built in them."""
    copy = tmp_path_factory.mktemp("tree") / "a tree"
    shutil.copytree(support.ROOT, copy, ignore=NOT_SOURCES)
    for built in ("lib", "include"):
        shutil.rmtree(copy / "plue_session" / built, ignore_errors=True)
    return copy


@pytest.fixture(scope="session")
def archive(tree, tmp_path_factory):
    """The source archive."""
    out = tmp_path_factory.mktemp("archive")
    done = support.run([sys.executable, "-c", ARCHIVE, out], cwd=tree, env=clean())
    return out / done.out.splitlines()[-1]


@pytest.fixture(scope="session")
def wheel(archive, tmp_path_factory):
    """The wheel, built from the archive in an environment of its own, as pip does it."""
    out = tmp_path_factory.mktemp("wheel")
    support.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, archive],
        cwd=out,
        env=clean(),
        timeout=300,
    )
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel in it, in a folder with a space; the folder of its commands."""
    venv = tmp_path_factory.mktemp("installed") / "an environment"
    support.run([sys.executable, "-m", "venv", venv], env=clean())
    support.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", wheel], cwd=venv, env=clean(), timeout=300)
    return venv / "bin"


def ask(installed, *flags):
    return support.run([installed / "plue-session-config", *flags], env={}, cwd="/").out.strip()


def test_the_archive_holds_what_builds_and_what_is_built(archive, wheel):
    with tarfile.open(archive) as file:
        sources = {name.partition("/")[2] for name in file.getnames()}
    assert {
        "setup.py",
        "build_ffi.py",
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        "include/plue_session.h",
        "plue_session/capi/core.h",
        "plue_session/adapters/sql/queries.sql",
        "examples/first.c",
        "examples/opencode.c",
        "examples/CMakeLists.txt",
        "examples/build.zig",
        "examples/loops/loop.h",
        "scripts/bundle.py",
        "requirements/test.txt",
        "tests/support.py",
    } <= sources
    assert not [name for name in sources if name.endswith((".so", ".o", ".pyc")) or name.startswith("plue_session/lib")]
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    package = {
        "lib/libplue_session.so",
        "lib/libplue_session.so.0",
        "lib/pkgconfig/plue-session.pc",
        "include/plue_session.h",
        "include/module.modulemap",
        "lib/cmake/PlueSession/PlueSessionConfig.cmake",
        "prototypes.py",
        "cli/commands.py",
        "lib/cmake/PlueSession/PlueSessionConfigVersion.cmake",
        "adapters/sql/queries.sql",
        "adapters/sqlite/queries.sql",
        "lib/plue-session-guard",
        "suppressions/lsan.supp",
        "suppressions/tsan.supp",
        "suppressions/valgrind.supp",
        "adapters/sqlite/migrations/0001_sessions.sql",
    }
    assert {f"plue_session/{name}" for name in package} <= names
    assert not [
        name
        for name in names
        if name.endswith((".c", ".o", ".pyc")) or name.startswith(("tests/", "benchmarks/", "build"))
    ]
    assert "-cp3" in wheel.name and "linux" in wheel.name


def readme(language, after="# plue_session"):
    """The first block in this language after this heading of the README."""
    return (support.ROOT / "README.md").read_text().partition(after)[2].split(f"```{language}\n")[1].split("```")[0]


@pytest.fixture(scope="session")
def links(installed, tmp_path_factory):
    """The smallest useful program, linked in each of the three ways that the README names, and as `cmake --install`
    leaves it; in a folder with a space."""
    folder = tmp_path_factory.mktemp("links") / "a folder"
    folder.mkdir()
    shutil.copytree(support.ROOT / "examples", folder, dirs_exist_ok=True)
    (folder / "build").mkdir()
    by_config, by_pkg_config, by_cmake = readme("sh", "## C").split("# or\n")
    for way, lines, cwd in (
        ("by-config", by_config.replace("app.c", "first.c -o by-config"), folder),
        ("by-pkg-config", by_pkg_config.replace("app.c", "first.c -o by-pkg-config"), folder),
        ("by-cmake", f"{by_cmake}\ncmake --build . && cmake --install . --prefix '../an app' && mv first ..", "build"),
    ):
        env = clean(PATH=f"{installed}:{os.environ['PATH']}")
        support.run(["sh", "-euc", lines], cwd=folder / cwd, env=env)
        assert way != "by-cmake" or (folder / "first").rename(folder / way)
    shutil.rmtree(folder / "build")
    (folder / "an app" / "bin" / "first").rename(folder / "by-cmake-install")
    return folder


@pytest.mark.requirement("X-014")
@pytest.mark.parametrize("way", ["by-config", "by-pkg-config", "by-cmake", "by-cmake-install"])
def test_a_program_linked_in_any_way_runs_elsewhere_without_an_environment(links, way, folder):
    done = support.run([links / way], env={"PLUE_SESSION_DATA_DIR": str(folder)}, cwd="/")
    assert '"title":"Untitled"' in done.out and '"secret":"' in done.out and done.err == ""
    assert (folder / "sessions.db").exists()


def test_the_library_uses_the_environment_it_is_installed_in(installed, folder):
    code = "from plue_session.prototypes import *; p = load(); p.plue_init(None); print(take(p, p.plue_get_app_info()))"
    assert os.access(os.path.join(ask(installed, "--libdir"), "plue-session-guard"), os.X_OK)
    told = json.loads(support.run([installed / "python", "-c", code], env=support.environment(folder), cwd="/").out)
    assert told["paths"]["python"] == str(installed.parent) and told["paths"]["library"].startswith(
        str(installed.parent)
    )


def test_a_library_outside_of_any_environment_uses_the_python_it_was_built_with(wheel, installed, tmp_path, folder):
    """As after `pip install --target`: cffi lies beside the package, and the base Python knows neither."""
    target = tmp_path / "target"
    site = next((installed.parent / "lib").glob("python3.*")) / "site-packages"
    shutil.copytree(site, target, ignore=shutil.ignore_patterns("pip*", "setuptools*", "requests*", "urllib3*"))
    program = tmp_path / "program"
    support.run(
        [
            "cc",
            support.ROOT / "examples" / "first.c",
            f"-I{target}/plue_session/include",
            f"-L{target}/plue_session/lib",
            f"-Wl,-rpath,{target}/plue_session/lib",
            "-lplue_session",
            "-o",
            program,
        ],
        env=clean(),
    )
    assert '"secret":"' in support.run([program], env={"PLUE_SESSION_DATA_DIR": str(folder)}, cwd="/").out


def test_the_commands_work_where_they_are_installed(installed, folder):
    env = support.environment(folder)
    assert "Created a session" in support.run([installed / "plue-session", "demo"], env=env, cwd="/").out
    assert support.run([installed / "plue-session", "doctor"], env=env, cwd="/").out.endswith("All is well.\n")
    assert (
        "My Coding Session"
        in support.run([installed / "python", support.ROOT / "examples" / "first.py"], env=env, cwd="/").out
    )


def test_a_server_of_ones_own_ships_with_the_installed_library(installed, opencode, isolated, folder, tmp_path):
    """The wheel brings the guard and requests: a C program and the command spawn a real server, and it ends with
    them."""
    project, name = str(tmp_path.resolve()), f"plue-{os.getpid()}-{os.urandom(4).hex()}"
    env = {**support.environment(folder), **isolated, "PATH": os.path.dirname(opencode), "PLUE_MARK": name}
    shutil.copy(support.ROOT / "examples" / "opencode.c", tmp_path)
    support.run(
        [
            *("sh", "-euc"),
            'eval "cc -Wall -Wextra -Werror opencode.c $(plue-session-config --cflags --libs) -lpthread -o app"',
        ],
        cwd=tmp_path,
        env=clean(PATH=f"{installed}:{os.environ['PATH']}"),
    )
    done = support.run([tmp_path / "app"], env=env, cwd=project)
    assert (
        '"id":"ses_' in done.out
        and "My Coding Session" in done.out
        and done.out.count("session.deleted") == 1
        and done.err == ""
    )

    (tmp_path / "settings.json").write_text(
        json.dumps({"backend": {"kind": "opencode", "spawn": {"directory": project, "env": isolated}}})
    )
    done = support.run(
        [installed / "plue-session", "doctor", "--json"],
        env={**env, "PLUE_SESSION_CONFIG": str(tmp_path / "settings.json")},
        cwd="/",
    )
    found = {finding["check"]: finding for finding in json.loads(done.out)["findings"]}
    assert (
        found["server"]["text"].startswith("OpenCode 1.18.33 at http://127.0.0.1:")
        and found["sessions"]["text"] == f"0 of {project}"
    )
    assert "they arrive" in found["events"]["text"] and not marked(name)


def marked(name):
    """Return the processes whose environment holds the name."""
    found = []
    for process in os.scandir("/proc"):
        if process.name.isdecimal():
            try:
                with open(f"/proc/{process.name}/environ", "rb") as file:
                    found += [process.name] if name.encode() in file.read() else []
            except OSError:  # gone meanwhile, or another user's
                continue
    return found


def test_what_the_readme_shows_works(installed, folder, tmp_path):
    (tmp_path / "app.c").write_text(readme("c"))
    env = clean(PATH=f"{installed}:{os.environ['PATH']}")
    support.run(
        ["sh", "-euc", 'eval "cc -Wall -Wextra -Werror app.c $(plue-session-config --cflags --libs) -o app"'],
        cwd=tmp_path,
        env=env,
    )
    env = {"PLUE_SESSION_DATA_DIR": str(folder)}
    said = support.run([tmp_path / "app"], env=env, cwd="/", code=1).err  # without a server nothing answers it
    assert said.startswith("plue_session_run_turn session_") and "use the backend opencode" in said
    assert '"title":"Untitled"' in support.run([installed / "python", "-c", readme("python")], env=env, cwd="/").out


def guide(tool):
    """The line in the guide that runs a program under this tool."""
    (line,) = (line for line in (support.ROOT / "docs" / "guide.md").read_text().splitlines() if line.startswith(tool))
    return line


@pytest.mark.parametrize(
    "tool, kind, fault, says",
    [("LSAN_", "address", "LEAK", "in core_own"), ("TSAN_", "thread", "RACE", "data race")],
)
def test_a_host_under_a_sanitizer_ends_clean_and_its_own_faults_are_found(
    installed, folder, tmp_path, tool, kind, fault, says
):
    """With the library and the suppressions as they are shipped, as the guide's line names them."""
    shutil.copy(support.ROOT / "tests" / "integration" / "hosts" / "sanitized.c", tmp_path)
    env = clean(PATH=f"{installed}:{os.environ['PATH']}", PLUE_SESSION_DATA_DIR=str(folder))
    for macro, faulty in (("SOUND", False), ("RETURNS", False), (fault, True)):
        build = f'eval "cc -g -D{macro} -fsanitize={kind} sanitized.c $(plue-session-config --cflags --libs) -o app"'
        support.run(["sh", "-euc", build], cwd=tmp_path, env=env)
        done = support.run(["sh", "-euc", guide(tool)], cwd=tmp_path, env=env, code=None)
        assert (done.returncode != 0) == faulty and (says in done.err) == faulty, done.err


def test_a_host_that_returns_while_the_library_runs_is_clean_under_valgrind(installed, folder, tmp_path):
    shutil.copy(support.ROOT / "tests" / "integration" / "hosts" / "sanitized.c", tmp_path)
    env = clean(PATH=f"{installed}:{os.environ['PATH']}", PLUE_SESSION_DATA_DIR=str(folder))
    build = 'eval "cc -g -DRETURNS sanitized.c $(plue-session-config --cflags --libs) -o app"'
    support.run(
        ["sh", "-euc", f"{build}\n{guide('valgrind ').replace('./app', '--error-exitcode=9 ./app')}"],
        cwd=tmp_path,
        env=env,
    )


ZIG = 'zig() { "$ZIG_PYTHON" -m ziglang "$@"; }\n'


def test_the_zig_examples_work_as_they_say(installed, folder, tmp_path):
    """The README's lines for its program, and build.zig."""
    place = tmp_path / "a folder"
    place.mkdir()
    (place / "app.zig").write_text(readme("zig"))
    for name in ("first.zig", "build.zig"):
        shutil.copy(support.ROOT / "examples" / name, place)
    cache = str(support.CHECKED / "zig-cache")
    env = clean(
        PATH=f"{installed}:{os.environ['PATH']}",
        ZIG_PYTHON=str(support.ROOT / ".tools" / "bin" / "python"),
        ZIG_GLOBAL_CACHE_DIR=cache,
        ZIG_LOCAL_CACHE_DIR=cache,
    )
    support.run(["sh", "-euc", f"{ZIG}{readme('sh', '## Zig')}\nzig build"], env=env, cwd=place)
    for program in ("app", "zig-out/bin/first"):
        done = support.run([place / program], env={"PLUE_SESSION_DATA_DIR": str(folder)}, cwd="/")
        assert '"title":"' in done.err


# -- a machine without Python -----------------------------------------------------------------------------------------
#: What a machine without Python has all the same, here: the loader and the C library.
GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2")
#: In namespaces of its own: a root folder, and the processes that the loader reads its own path from.
ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


@pytest.fixture(scope="session")
def bundle(installed, tmp_path_factory):
    """A root folder with the C library and a bundle in it, made as the guide says."""
    machine = tmp_path_factory.mktemp("machine")
    for name in ("tmp", "proc", "opt"):
        (machine / name).mkdir()
    told = support.run(["ldd", "/bin/sh"], env=clean()).out.split()
    loader = next(Path(word) for word in told if "/ld-" in word)
    libc = Path(next(word for word in told if word.startswith("/") and word.endswith("libc.so.6")))
    for path in (loader, *(libc.with_name(name) for name in GLIBC)):
        (machine / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path.resolve(), machine / path.relative_to("/"))

    place = tmp_path_factory.mktemp("bundle") / "a folder"
    place.mkdir()
    for path in ("examples/first.c", "examples/opencode.c", "tests/integration/hosts/plus.cc"):
        shutil.copy(support.ROOT / path, place)
    text = (support.ROOT / "docs" / "guide.md").read_text()
    lines = text.partition("**A bundle**")[2].partition("```sh\n")[2].partition("```")[0]
    lines = lines.replace("scripts/bundle.py", f"'{support.ROOT}/scripts/bundle.py'")
    env = clean(PATH=f"{installed}:{os.environ['PATH']}")
    link, make = lines.splitlines()
    own = "g++ -DLIBRARY -shared -fPIC plus.cc -o own/libplus.so"
    plus = r"g++ plus.cc -o plus -Lown -lplus -Wl,-rpath,'\$ORIGIN/own'"
    for line in (
        f"{link} -lpthread".replace("app", "first"),
        f"{link} -lpthread".replace("app", "opencode"),
        f"mkdir own; {link}".replace("cc app.c -o app", own),
        link.replace("cc app.c -o app", plus),
        make.replace(" app", " first opencode plus"),
    ):
        support.run(["sh", "-euc", line], cwd=place, env=env)
    (place / "dist").rename(machine / "opt" / "an app")
    return machine


def in_bundle(machine, *command, **options):
    if not shutil.which("unshare") or not shutil.which("chroot"):
        pytest.fail("there is no unshare or chroot: the machine without Python cannot be made")
    command = [f"/opt/an app/bin/{command[0]}", *command[1:]]
    return support.run(
        ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-euc", ENTER, machine, *command],
        env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "PLUE_SESSION_DATA_DIR": "/tmp/store"},
        **options,
    )


@pytest.mark.requirement("X-014", "P-183")
def test_a_bundle_runs_on_a_machine_without_python(bundle):
    done = in_bundle(bundle, "first")
    assert '"title":"Untitled"' in done.out and '"secret":"' in done.out and done.err == ""
    assert (bundle / "tmp" / "store" / "sessions.db").exists()
    assert not [path for path in bundle.rglob("*python3*") if (bundle / "opt" / "an app" / "lib") not in path.parents]


def test_a_bundle_has_the_programs_own_libraries(bundle):
    """That of the C++ compiler, and one that lay beside the program."""
    assert in_bundle(bundle, "plus").out == "thrown in a library\n"


def test_a_bundle_talks_to_servers(bundle):
    """What a call to a server needs is there: nothing listens, and that alone is said."""
    done = in_bundle(bundle, "opencode", "http://127.0.0.1:9", code=1)
    assert "cannot be reached (Connection refused)" in done.err


def test_every_library_that_a_bundle_needs_is_in_it_and_found_there(bundle):
    objects = {path.name: path for path in (bundle / "opt").rglob("*.so*")}
    objects |= {path.name: path for path in (bundle / "opt" / "an app" / "bin").iterdir()}
    assert any(name.startswith("_ssl.") for name in objects)
    for path in objects.values():
        told = support.run(["readelf", "-d", path], env=os.environ).out
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", told))
        assert {name for name in needed if not name.startswith("ld-linux")} <= {*GLIBC, *objects}, path
        (folders,) = re.findall(r"PATH\).*\[(.*)\]", told) or [""]
        assert all(folder.startswith("$ORIGIN") for folder in folders.split(":") if folder), path


def test_the_bundle_script_says_what_is_wrong(installed, links, tmp_path):
    """On one line, and leaves nothing that is in the way of the next try."""
    python, script, program = installed / "python", support.ROOT / "scripts" / "bundle.py", links / "by-config"
    for name in ("there", "namesake", "odd"):
        (tmp_path / name).mkdir()
    namesake = Path(shutil.copy(program, tmp_path / "namesake"))
    (odd := tmp_path / "odd" / "elf").write_bytes(b"\x7fELF, it says")
    odd.chmod(0o755)
    support.run(["cc", "-shared", "-x", "c", os.devnull, "-o", "odd/lib.so"], cwd=tmp_path, env=clean())
    main = 'echo "int main(void) { return 0; }" | cc -x c - -x none -Wl,--no-as-needed odd/lib.so -o odd/by-path'
    support.run(["sh", "-euc", main], cwd=tmp_path, env=clean())
    for folder, programs, says in (
        ("there", [program], "exists already"),
        ("new", [tmp_path / "nothing"], "is not a program"),
        ("new", [program, namesake], "two programs are named by-config"),
        ("new", [odd], "patchelf cannot read"),
        ("new", [tmp_path / "odd" / "by-path"], "loads odd/lib.so by its path"),
        ("/proc/x/y", [program], "/proc/x/y cannot be made"),
    ):
        done = support.run([python, script, tmp_path / folder, *programs], cwd=tmp_path, env=clean(), code=1)
        assert says in done.err and done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["namesake", "odd", "there"]


def test_an_environment_with_a_comma_in_its_path_can_be_linked(installed, links, tmp_path, folder):
    environment = tmp_path / "one, two"
    shutil.copytree(installed.parent, environment, symlinks=True)
    (tmp_path / "plue-session-config").write_text('#!/bin/sh\nexec "$PLUE" -m plue_session.config_tool "$@"\n')
    (tmp_path / "plue-session-config").chmod(0o755)
    env = clean(PATH=f"{tmp_path}:{os.environ['PATH']}", PLUE=str(environment / "bin" / "python"))
    by_config, _, by_cmake = readme("sh", "## C").split("# or\n")
    build = tmp_path / "examples" / "build"
    shutil.copytree(links, build.parent, ignore=lambda *_: ["an app"])
    build.mkdir()
    support.run(["sh", "-euc", by_config.replace("app.c", "first.c -o by-config")], cwd=build.parent, env=env)
    support.run(["sh", "-euc", f"{by_cmake}\ncmake --build . && cmake --install . --prefix ."], cwd=build, env=env)
    for program in (build.parent / "by-config", build / "first", build / "bin" / "first"):
        assert str(environment) in support.run(["ldd", program], env=clean()).out
        done = support.run([program], env={"PLUE_SESSION_DATA_DIR": str(folder)}, cwd="/")
        assert '"title":"Untitled"' in done.out and done.err == ""


def test_the_configuration_command_answers_in_the_order_of_the_questions(installed):
    package = os.path.dirname(ask(installed, "--includedir"))
    assert ask(installed, "--version", "--libdir") == f"0.1.0 {package}/lib"
    escaped = package.replace(" ", "\\ ")
    assert ask(installed, "--cflags") == f"-I{escaped}/include"
    assert ask(installed, "--libs") == f"-L{escaped}/lib -Wl,-rpath,{escaped}/lib -lplue_session"
    assert ask(installed, "--pkgconfigdir", "--cmakedir") == f"{package}/lib/pkgconfig {package}/lib/cmake/PlueSession"


def test_the_configuration_command_escapes_blanks_and_says_what_is_wrong(monkeypatch, tmp_path, capsys):
    library = tmp_path / "a folder"
    monkeypatch.setattr(config_tool, "LIBRARY", str(library))
    monkeypatch.setitem(config_tool.ANSWERS, "libs", (f"-L{library}", ""))
    assert config_tool.main(["--libs"]) == 1
    assert "there is no library in" in capsys.readouterr().err
    library.mkdir()
    (library / "libplue_session.so").touch()
    assert config_tool.main(["--libs", "--version"]) == 0
    assert capsys.readouterr().out == f"-L{tmp_path}/a\\ folder 0.1.0\n"
    with pytest.raises(SystemExit, match="2"):
        config_tool.main([])


# -- a machine that lacks something ------------------------------------------------------------------------------------
def lacking(folder, name, value):
    """A folder that, on PYTHONPATH, makes sysconfig say of the variable what a lesser Python's would."""
    folder.joinpath("sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import sysconfig
        real = sysconfig.get_config_var
        sysconfig.get_config_var = lambda name: {value!r} if name == {name!r} else real(name)
    """)
    )
    return {"PYTHONPATH": str(folder)}


def test_pip_says_on_one_line_that_python_has_no_shared_library(tree, tmp_path):
    env = clean(**lacking(tmp_path, "Py_ENABLE_SHARED", 0))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, tree],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (line,) = {line.strip() for line in (done.stdout + done.stderr).splitlines() if "libpython" in line}
    assert (
        done.returncode
        and line.startswith("plue_session cannot be built: Python 3.")
        and "apt-get install python3-dev" in line
    )
    assert "gcc" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("Py_ENABLE_SHARED", 0, "no shared libpython"),
        ("LDLIBRARY", "libpython9.so", "no shared libpython"),
        ("CC", "nocc", "no C compiler (nocc)"),
    ],
)
def test_the_build_says_what_is_missing(tmp_path, name, value, says):
    done = support.run(
        [sys.executable, "build_ffi.py", "--out", tmp_path],
        env=clean(**lacking(tmp_path, name, value)),
        cwd=support.ROOT,
        code=1,
    )
    assert says in done.err and done.err.count("\n") == 1 and done.out == ""


def test_the_build_notices_missing_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(build_ffi.sysconfig, "get_path", lambda *_: str(tmp_path))
    with pytest.raises(build_ffi.CannotBuild, match="has no headers"):
        build_ffi.libpython_folder()


def test_the_search_for_a_python_takes_none_that_cannot_embed(tmp_path):
    search = support.ROOT / "scripts" / "python.sh"
    lesser = tmp_path / "lesser"
    lesser.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    lesser.chmod(0o755)
    lacking(tmp_path, "Py_ENABLE_SHARED", 0)
    for python, says in (
        (lesser, "it has no shared libpython"),
        ("nothing", "is not a program"),
        ("false", "cannot run the library"),
    ):
        done = support.run([search], env=clean(PYTHON=str(python)), code=1)
        assert says in done.err and "make run PYTHON=" in done.err and done.err.count("\n") == 1 and done.out == ""
    assert support.run([search], env=clean(PYTHON=sys.executable)).out.strip() == sys.executable


def test_a_machine_without_npm_is_told_so_on_one_line(tmp_path):
    for name in ("sh", "id", "valgrind", "cmake", "patchelf", "pkg-config", "g++", "cc", "node", "Xvfb"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = support.run(["sh", support.ROOT / "scripts" / "tools.sh"], env={"PATH": str(tmp_path)}, code=1)
    assert (
        done.err == "The tests need npm: install them (Debian: sudo apt-get install npm), then try again.\n"
        and done.out == ""
    )
