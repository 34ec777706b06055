"""Share links: what is public, what is secret, and when a secret opens a share.

The secret is derived from the share id with a key that is not in the database: a copy of the database opens nothing.
"""

KEY_SIZE = 32
ID_SIZE = 16


def share_id(random):
    """Write `random` (16 bytes from the system) as the public id of a share."""
    return _base64url(random)


def url(base_url, share):
    """Return the public address of the share; it holds no secret."""
    return f"{base_url.rstrip('/')}/share/{share}"


def secret(key, share):
    """Return the share's secret: HMAC-SHA256 of its id under `key` (32 bytes), in base64url without padding."""
    from hmac import digest  # here and below: hashlib and OpenSSL cost a start some milliseconds, few share

    return _base64url(digest(key, share.encode(), "sha256"))


def link(url, secret):
    """Return what a person pastes: the secret is in the fragment, which a browser sends to no server."""
    return f"{url}#{secret}"


def is_open(share, expires, given, key, now):
    """Return whether `given` is the secret of `share` and `now` is before `expires` (ms; None: never expires).

    Takes the same time whatever is wrong with it.
    """
    from hmac import compare_digest

    right = compare_digest(secret(key, share).encode(), given.encode("utf-8", "surrogatepass"))
    return right & is_live(expires, now)


def is_live(expires, now):
    """Return whether a share that ends at `expires` (ms; None: never) still holds. At that very moment it does not."""
    return expires is None or now < expires


def _base64url(data):
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).decode().rstrip("=")
