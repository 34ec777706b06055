"""OpenSSL in a process that may exit while threads of ours use it."""

import importlib.util

#: OPENSSL_INIT_NO_ATEXIT of <openssl/crypto.h>.
NO_ATEXIT = 0x00080000


def keep():
    """Have OpenSSL keep what it has when the process exits, for the kernel to free: by itself it takes that apart in
    `exit`, below threads that still read with it (P-016). The first user in a process decides, so call this before
    anything imports `ssl` or `hashlib`; where the host was first, or OpenSSL is a hidden part of Python, nothing
    changes."""
    import ctypes

    spec = importlib.util.find_spec("_ssl")
    try:
        initialize = ctypes.CDLL(spec.origin if spec and spec.has_location else None).OPENSSL_init_crypto
    except (OSError, AttributeError):
        return
    initialize.argtypes = (ctypes.c_uint64, ctypes.c_void_p)
    initialize(NO_ATEXIT, None)
