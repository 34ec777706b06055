"""Make a folder with programs that use the library and all that they need: it runs where there is no Python.

    python scripts/bundle.py FOLDER PROGRAM...

Run it with the Python of the environment that plue-session is installed in (or .venv/bin/python with PYTHONPATH=. in
this tree). The programs come to FOLDER/bin, the rest to FOLDER/lib; FOLDER must be new. The programs' own libraries
come along, and the programs are told to look in the bundle; what they open by name only (dlopen) does not. The target
needs the same machine type and a glibc at least as new as that of this machine, which the bundle leaves out.
"""

import argparse
import compileall
import filecmp
import fnmatch
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from py_compile import PycInvalidationMode

#: What the package needs of others, which bring their own needs.
NEEDED = ("cffi", "requests")
#: Parts of the package for those who build.
BUILDING = ("*.c", "*.h", "include", "cmake", "pkgconfig", "libplue_session.so", "suppressions", "__pycache__")
#: Parts of the standard library that are for developers, terminals and windows.
UNUSED = (
    *("test", "tests", "idlelib", "tkinter", "turtle*", "ensurepip", "venv", "lib2to3", "pydoc*", "config-*", "*.a"),
    *("site-packages", "dist-packages", "sitecustomize.py", "usercustomize.py", "__pycache__", "EXTERNALLY-MANAGED"),
    *("_tkinter.*", "_curses*.so", "readline.*", "nis.*", "_dbm.*", "_gdbm.*", "_crypt.*", "_test*", "_ctypes_test*"),
    *("xx*.so", "_xx*.so", "ossaudiodev.*"),
)
#: glibc belongs to the machine: its parts work only with each other.
GLIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv|anl|nsl|mvec))\.so\.\d$")
#: Where a program finds the library, and the libraries that both need.
RPATH = ("$ORIGIN/../lib/plue_session/lib", "$ORIGIN/../lib/plue_session/lib/python/lib")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("programs", type=Path, nargs="+", metavar="program")
    options = parser.parse_args()
    folder = options.folder.absolute()
    if os.path.lexists(folder):
        sys.exit(f"bundle.py: {folder} exists already. Name a new folder, or remove it.")
    found = importlib.util.find_spec("plue_session")
    patchelf("--version")
    package = Path(found.origin).parent if found else None
    if not package or not list(package.glob("lib/libplue_session.so.*")):
        sys.exit(f"bundle.py: {sys.executable} has no plue_session with a library. Install it there (pip install .).")
    for program in options.programs:
        if not os.access(program, os.X_OK) or program.is_dir():
            sys.exit(f"bundle.py: {program} is not a program.")
        if [each.name for each in options.programs].count(program.name) > 1:
            sys.exit(f"bundle.py: two programs are named {program.name}. Rename one: they come to the same folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            unfinished = Path(place, folder.name)
            bundle(unfinished, options.programs, package)
            unfinished.rename(folder)
    except OSError as error:
        sys.exit(f"bundle.py: {folder} cannot be made: {error}")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{folder}: {size / 1e6:.0f} MB, for {platform.machine()} with {' '.join(platform.libc_ver())} or newer")


def bundle(folder, programs, package):
    """Make the folder with these programs and the package."""
    lib = folder / "lib"
    shutil.copytree(package, lib / "plue_session", ignore=shutil.ignore_patterns(*BUILDING))
    for name in closure(NEEDED):
        copy_distribution(name, lib)
    home = lib / "plue_session" / "lib" / "python"
    objects = copy_python(home / "lib")
    objects += [path for path in lib.rglob("*.so") if home not in path.parents]
    objects += package.glob("lib/libplue_session.so.*")
    needed = libraries(objects)
    if sysconfig.get_config_var("INSTSONAME") not in needed:
        sys.exit(f"bundle.py: the library is for another Python than {sys.executable}. Run this with that one.")
    # A program's library is loaded before Python asks for one of that name.
    copy_libraries({**needed, **libraries_of_programs(programs, lib)}, home / "lib")
    find_each_other(lib, home / "lib")
    # Once and for all: the library writes no bytecode, and archives do not keep the times that Python would compare.
    compileall.compile_dir(
        lib, quiet=1, workers=0, stripdir=str(folder), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    (folder / "bin").mkdir()
    for program in programs:
        copy_program(program, folder / "bin" / program.name)


def closure(names):
    """Return the names of these distributions and of those that they need."""
    found = {}
    names = list(names)
    while names:
        name = names.pop()
        if re.sub(r"[-_.]+", "-", name).lower() not in found:
            found[re.sub(r"[-_.]+", "-", name).lower()] = name
            required = importlib.metadata.requires(name) or ()
            names += [re.match(r"[\w.-]+", each)[0] for each in required if "extra ==" not in each]
    return found.values()


def copy_distribution(name, lib):
    """Copy what the distribution installed as importable, and its licence, to `lib`."""
    for file in importlib.metadata.files(name) or ():
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            (lib / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), lib / file)


def copy_python(lib):
    """Copy the standard library to `lib`, where the library looks for it, and return its modules in C as they were."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    skip = shutil.ignore_patterns(*UNUSED)
    shutil.copytree(stdlib, lib / stdlib.name, ignore=skip, ignore_dangling_symlinks=True)
    if sys.platlibdir != "lib":
        (lib.parent / sys.platlibdir).symlink_to("lib")
    modules = (stdlib / "lib-dynload").glob("*.so")
    return [path for path in modules if not any(fnmatch.fnmatch(path.name, pattern) for pattern in UNUSED)]


def libraries(objects, inside=()):
    """Return what the loader finds for these files: the path by name. Those inside the bundle need not be found."""
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    told = subprocess.run(["ldd", *map(str, objects)], env=env, capture_output=True, text=True).stdout
    for path in re.findall(r"^\s+(\S*/\S+) \(0x", told, re.MULTILINE):
        if not GLIBC.match(os.path.basename(path)):
            sys.exit(f"bundle.py: {objects[0]} loads {path} by its path. Link it with -L and -l, or give it a soname.")
    if missing := [name for name in re.findall(r"(\S+) => not found", told) if name not in inside]:
        sys.exit(f"bundle.py: {missing[0]}, which the bundle needs, is not on this machine.")
    return {name: Path(path) for name, path in re.findall(r"^\s+(\S+) => (/.*) \(0x", told, re.MULTILINE)}


def libraries_of_programs(programs, lib):
    """Return what the programs load where they are now and the bundle lacks: the path by name."""
    inside = {path.name for path in lib.rglob("*.so*")}
    found = {}
    for program in programs:
        for name, path in libraries([program], inside).items():
            if name not in inside and not filecmp.cmp(found.setdefault(name, path), path, shallow=False):
                sys.exit(f"bundle.py: the programs need two {name}: {found[name]} and {path}. Make two bundles.")
    return found


def copy_libraries(found, lib):
    """Copy these libraries, without glibc and what the bundle has, to `lib`."""
    inside = {path.name for path in lib.parents[3].rglob("*.so*")}
    for name, path in found.items():
        if not GLIBC.match(name) and name not in inside:
            shutil.copy(path, lib / name)


def copy_program(program, copy):
    """Copy the program, and have it look for libraries in the bundle first and in no folder of this machine."""
    shutil.copy2(program, copy)
    if copy.read_bytes()[:4] == b"\x7fELF":  # else a script
        own = [each for each in patchelf("--print-rpath", copy).strip().split(":") if each.startswith("$ORIGIN")]
        patchelf("--force-rpath", "--set-rpath", ":".join(dict.fromkeys([*RPATH, *own])), copy)


def find_each_other(lib, home):
    """Have every library in the bundle look for others in `home`, and in no folder of this machine."""
    for path in lib.rglob("*.so*"):
        if path.parent == home or "$ORIGIN" not in patchelf("--print-rpath", path):  # else a wheel's own
            patchelf("--force-rpath", "--set-rpath", f"$ORIGIN/{os.path.relpath(home, path.parent)}", path)


def patchelf(*arguments):
    try:
        return subprocess.run(["patchelf", *arguments], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        sys.exit(
            "bundle.py: patchelf is not here. Install it (Debian: apt-get install patchelf; pip install patchelf)."
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"bundle.py: patchelf cannot read {arguments[-1]}: {error.stderr.strip()}")


if __name__ == "__main__":
    main()
