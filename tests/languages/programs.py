"""The languages that call the library: how what is written in each is built and started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import support
from tests.remote.hosts import HOST

HERE = Path(__file__).parent
#: What Node calls C with, from the npm registry.
KOFFI = "2.16.2"


def koffi():
    """Return the folder of koffi, installed the first time."""
    folder = support.ROOT / ".tools" / "koffi"
    package = folder / "node_modules" / "koffi"
    with support.alone("koffi"):
        told = package / "package.json"
        if not told.exists() or json.loads(told.read_text())["version"] != KOFFI:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text('{"private": true}\n')
            done = subprocess.run(
                ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", f"koffi@{KOFFI}"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=300,
            )
            if done.returncode:
                pytest.fail(f"npm cannot install koffi@{KOFFI}: {done.stderr[-500:]}", pytrace=False)
    return package


def zig(library, source, to):
    """Build a Zig program against the library."""
    cache = str(support.CHECKED / "zig-cache")
    compiler = [support.ROOT / ".tools" / "bin" / "python", "-m", "ziglang", "build-exe", source, "-lc"]
    support.run(
        [*compiler, f"-I{library.include}", f"-L{library.lib}", "-lplue_session", "-rpath", library.lib]
        + [f"-femit-bin={to}"],
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
        cwd=to.parent,
    )
    return to


def host(language, library, folder):
    """Return the command of a host in a language, which does what tests/remote/hosts.py tells it."""
    if language == "C":
        return [library.compile(HERE / "host.c")]
    if language == "Zig":
        return [zig(library, HERE / "host.zig", folder / "host")]
    if language == "Node":
        return ["node", HERE / "host.mjs", library.path, library.include / "plue_session.h", koffi()]
    return [sys.executable, "-I", HOST, library.path, library.package / "prototypes.py"]
