"""New names."""


class Ids:
    """Gives names of `random()`, a text of letters and digits that is another one each time."""

    def __init__(self, random):
        self._random = random

    def new(self, prefix, is_taken=lambda name: False):
        """Return a name with this prefix that is not taken (R-070)."""
        while is_taken(name := prefix + self._random()):
            pass
        return name
