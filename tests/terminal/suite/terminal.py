"""A program in a terminal of its own: what it writes goes through a terminal emulator, and keys
reach it as they would from a keyboard."""

import fcntl
import os
import pty
import select
import struct
import termios
import time

import pyte

ROWS, COLUMNS = 40, 160
PATIENCE_S = 60
CTRL_C = b"\x03"


class Terminal:
    def __init__(self, command, environment):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        # All that was ever written, for what an emulator does not show.
        self.written = b""
        self.status = None
        self.process_id, self.master = pty.fork()
        if self.process_id == 0:
            os.execve(command[0], list(map(str, command)), environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    @property
    def lines(self):
        """What is to be seen now."""
        return [line.rstrip() for line in self.screen.display]

    def line(self, beginning):
        """The one line that begins so, if it is there."""
        found = [line for line in self.lines if line.startswith(beginning)]
        assert len(found) <= 1, "\n".join(self.lines)
        return found[0] if found else ""

    def await_line(self, beginning, part):
        """Reads until the line that begins so has this part."""
        end = time.monotonic() + PATIENCE_S
        while part not in self.line(beginning):
            shown = "\n".join(self.lines)
            assert time.monotonic() < end, f"no {beginning!r} with {part!r}:\n{shown}"
            assert self._read(), f"the program has ended:\n{shown}"

    def press(self, keys):
        os.write(self.master, keys)

    def await_end(self):
        """Reads to the end, and answers the exit status."""
        while self._read():
            pass
        _, status = os.waitpid(self.process_id, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.process_id, 9)
            os.waitpid(self.process_id, 0)
        os.close(self.master)

    def _read(self):
        """Takes what is there, or waits for it a while; false where the program has ended."""
        ready, _, _ = select.select([self.master], [], [], 1)
        if not ready:
            return True
        try:
            written = os.read(self.master, 65_536)
        except OSError:
            # Linux says so where nobody has the other side open any more.
            return False
        self.written += written
        self.stream.feed(written)
        return bool(written)
