"""Build the library with the package: a platform wheel that carries lib/, include/, pkg-config and CMake files.

What the package is called, needs and contains is in pyproject.toml.
"""

import os
import sys
import sysconfig

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, ROOT)  # an isolated build does not look here

import build_ffi  # noqa: E402


class PlatformDistribution(Distribution):
    """The library is for one machine type and one Python version, so the wheel is."""

    def has_ext_modules(self):
        return True


class BuildWithLibrary(build_py):
    """Put the library beside the Python modules that it belongs to."""

    def run(self):
        try:
            build_ffi.libpython_folder()  # before anything else: it says on one line what is missing
        except build_ffi.CannotBuild as missing:
            sys.exit(f"plue_session cannot be built: {missing}")
        super().run()
        out = os.path.join(ROOT if self.editable_mode else os.path.abspath(self.build_lib), "plue_session")
        work = os.path.join(os.path.abspath(self.get_finalized_command("build").build_temp), "plue_session")
        python, site = outside()
        build_ffi.build(out, python=python, site=site, work=work)


def outside():
    """Return the interpreter and its folder of packages that outlive the build, which may run in a passing environment.

    The environment that the package is installed into is found from the library's own place (find.c,
    core_find_runtime); this is for what is installed outside of any, such as with `pip install --user` or `--target`.
    """
    base = os.path.join(sys.base_exec_prefix, "bin", f"python{sysconfig.get_python_version()}")
    prefixes = {
        "base": sys.base_prefix,
        "platbase": sys.base_exec_prefix,
        "installed_base": sys.base_prefix,
        "installed_platbase": sys.base_exec_prefix,
    }
    return (base if os.access(base, os.X_OK) else sys.executable), sysconfig.get_path(
        "platlib", "posix_prefix", prefixes
    )


setup(distclass=PlatformDistribution, cmdclass={"build_py": BuildWithLibrary})
