"""What titles are made of."""


def append(title, text):
    """Return the title with `text` behind it."""
    return f"{title} {text}" if title else text
