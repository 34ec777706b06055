"""Extend a copy of the tree, `add.py ROOT`, by functions for each way in which a value can cross the boundary."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def append(path, text):
    path.write_text(path.read_text() + text)


def main(root):
    capi = root / "plue_session" / "capi"
    append(capi / "types.py", (HERE / "rows.py").read_text())
    shutil.copy(HERE / "functions.py", capi / "surface" / "extended.py")
    append(capi / "surface" / "__init__.py", "from plue_session.capi.surface import extended  # noqa: F401\n")
    shutil.copy(HERE / "extended.c", capi)
    build = root / "build_ffi.py"
    build.write_text(build.read_text().replace('"host.c",', '"host.c",\n    "extended.c",'))
    (root / "docs").mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "plue_session.capi.emit"], cwd=root, env=os.environ, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
