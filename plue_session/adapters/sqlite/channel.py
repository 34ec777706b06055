"""The channel between processes on a store: each that listens has a socket in a folder beside it, which nobody else may
enter. Datagrams are kept apart by the kernel, and bounded: what finds no room is refused, never waited for."""

import contextlib
import os
import socket

from plue_session import threads
from plue_session.adapters import private
from plue_session.adapters.descriptor import Descriptor
from plue_session.errors import PlueError
from plue_session.primitives import allocate_lock

FOLDER = "listeners"
#: Bytes that a message may have, and the kernel is asked to keep for a listener.
MOST, ROOM = 60_000, 4 << 20


class Channel:
    """Of the store in `data_dir`, for the process with the number `owner()`. The thread that hears calls `adopt()`
    first."""

    most = MOST

    def __init__(self, data_dir, owner, adopt=lambda: None):
        self._path, self._owner, self._adopt = os.path.join(data_dir, FOLDER), owner, adopt
        self._lock = allocate_lock()
        self._folder = self._socket = self._sender = self._name = None
        self._times, self._closed = 0, False

    # -- telling -------------------------------------------------------------------------------------------------------
    def listeners(self):
        with self._lock:
            fd = self._open()
            try:
                return [name for name in os.listdir(fd) if name != self._name] if fd is not None else []
            except OSError:
                return []

    def send(self, listener, message):
        with self._lock:
            fd = self._open()
            if fd is None:
                return False
            try:
                if self._sender is None or not self._sender.mark.is_ours():
                    self._drop_sender()
                    self._sender = _Socket()
                    self._sender.socket.setblocking(False)
                self._sender.socket.sendto(message, _address(fd, listener))
                return True
            except ConnectionRefusedError:  # who had it is gone
                with contextlib.suppress(OSError):
                    os.unlink(listener, dir_fd=fd)
            except OSError:  # it has no room, or is just gone
                return False
        return False

    # -- hearing -------------------------------------------------------------------------------------------------------
    def listen(self, hear):
        with self._lock:
            if self._socket is not None or self._closed:
                return not self._closed
            made = None
            try:
                with contextlib.suppress(FileExistsError):
                    private.make_folder(self._path)
                fd = self._open()
                if fd is None:
                    return False
                made = _Socket()
                made.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
                self._times += 1
                name = f"{self._owner():x}.{self._times}"
                with contextlib.suppress(FileNotFoundError):  # of an earlier store of this process's
                    os.unlink(name, dir_fd=fd)
                made.socket.bind(_address(fd, name))
                threads.start(lambda: self._hear(made, hear), "plue-listener")
            except (OSError, PlueError):
                if made is not None:
                    made.close()
                return False
            self._socket, self._name = made, name
            return True

    def leave(self):
        with self._lock:
            self._leave()

    def close(self):
        with self._lock:
            self._closed = True
            self._leave()
            self._drop_sender()
            if self._folder is not None:
                self._folder.close()
            self._folder = None

    def _drop_sender(self):
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def _leave(self):
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._path, self._name))
        if self._socket.mark.is_ours():
            with contextlib.suppress(OSError):
                self._socket.socket.shutdown(socket.SHUT_RDWR)  # its thread wakes, and closes it
        self._socket = self._name = None

    def _hear(self, heard, hear):
        try:
            self._adopt()
            while message := heard.socket.recv(MOST):
                hear(message)
        except OSError:  # a host has closed our descriptor
            return
        finally:
            heard.close()

    def _open(self):
        """Return the folder's descriptor, or None while nobody has listened yet."""
        if self._folder is not None and not self._folder.is_ours():
            self._folder = None
        if self._folder is None and not self._closed:
            with contextlib.suppress(OSError):
                self._folder = Descriptor(os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return self._folder and self._folder.fd


class _Socket:
    """A socket that a host may close."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.mark = Descriptor(self.socket.fileno())

    def close(self):
        if self.mark.is_ours():
            self.socket.close()
        else:
            self.socket.detach()


def _address(folder, name):
    """Return a socket's address, which is short, however long the folder's name is."""
    return f"/proc/self/fd/{folder}/{name}"
