"""A real OpenCode server that a test may kill, stop and start again: always at the same address, over the same
store."""

import contextlib
import os
import signal
import socket
import subprocess
import threading

PASSWORD = "pä:ss word"


class Daemon:
    """`url`, `username`, `password`, `pid`. Started by the constructor."""

    username, password = "opencode", PASSWORD

    def __init__(self, program, directory, environment):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [program, "serve", "--hostname", "127.0.0.1", "--port", str(self.port)]
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "npm_config_offline": "true",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            **environment,
            "OPENCODE_SERVER_PASSWORD": PASSWORD,
        }
        self._process = None
        self.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def backend(self):
        """The `backend` of a configuration that attaches to it."""
        return {
            "kind": "opencode",
            "url": self.url,
            "directory": self._directory,
            "username": self.username,
            "password": self.password,
        }

    def start(self):
        """Start it and return when it listens."""
        for _ in range(5):
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for line in self._process.stdout:
                if b"server listening on" in line:
                    threading.Thread(target=self._drain, args=(self._process.stdout,), daemon=True).start()
                    return
            self._process.wait()
        raise AssertionError("OpenCode does not start")

    @staticmethod
    def _drain(output):
        with contextlib.suppress(ValueError, OSError):
            while output.read1(65536):
                pass
            output.close()

    def kill(self):
        """Kill it and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self):
        """Have it hang: its connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)
