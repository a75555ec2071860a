"""`meterline status`, as an operator looks at it."""

import os
from pathlib import Path

import pytest
from local_system import ACTION_TYPE, LocalSystem
from terminal import CTRL_C, Terminal

PROGRAMS = Path(os.environ.get("TERMINAL_PROGRAMS", "target/debug")).resolve()
OTHER_SCREEN, ITS_END = b"\x1b[?1049h", b"\x1b[?1049l"
NO_CURSOR, CURSOR = b"\x1b[?25l", b"\x1b[?25h"


class System(LocalSystem):
    def __init__(self):
        super().__init__(PROGRAMS)

    def fill(self):
        self.customer_id = self.create_customer("looked-at")["customer_id"]

    def emit(self, event_id, quantity):
        event = {
            "event_id": event_id,
            "customer_id": self.customer_id,
            "action_type": ACTION_TYPE,
            "quantity": quantity,
        }
        self.call("POST", "/v1/usage", event)


@pytest.fixture
def system():
    system = System()
    yield system
    system.stop()


@pytest.fixture
def terminal(system):
    command = [PROGRAMS / "meterline", "status"]
    terminal = Terminal(command, {**os.environ, **system.environment, "TERM": "xterm-256color"})
    yield terminal
    terminal.close()


def test_usage_shows_while_somebody_looks_and_ctrl_c_leaves_the_last_look(system, terminal):
    terminal.await_line("this period", " 0 delivered")
    for number in range(3):
        system.emit(f"event-{number}", 7)
    # Each look is over the one before: `line` fails where two of them are to be seen.
    terminal.await_line("this period", " 3 delivered")
    terminal.await_line("usage", "(all 1 customers)")
    terminal.await_line("pending", "none")
    [busiest] = [line for line in terminal.lines if system.customer_id in line and " 21 " in line]
    assert busiest.split()[1:3] == ["3", "21"], busiest

    assert terminal.written.startswith(OTHER_SCREEN + NO_CURSOR)
    assert ITS_END not in terminal.written
    terminal.press(CTRL_C)
    assert terminal.await_end() == 0
    before, after = terminal.written.rsplit(CURSOR + ITS_END, 1)
    assert CURSOR not in before
    assert b" 3 delivered" in after and after.endswith(b"\n")


def test_a_look_that_fails_says_so_beside_what_was_seen_before(system, terminal):
    terminal.await_line("this period", " 0 delivered")
    system.process.kill()
    terminal.await_line("not read: ", "trying again")
    assert " 0 delivered" in terminal.line("this period")
    terminal.press(CTRL_C)
    assert terminal.await_end() == 0
