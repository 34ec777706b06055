"""File systems for tests that need one of their own."""

import os

from tests import support


class mounted:
    """A small file system of one's own, with `options`."""

    def __init__(self, tmp_path, options):
        self.path, self.options = tmp_path / "disk", options

    def __enter__(self):
        self.path.mkdir()
        support.run(["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", self.path], env=os.environ)
        return self.path

    def __exit__(self, *_):
        support.run(["umount", self.path], env=os.environ)
