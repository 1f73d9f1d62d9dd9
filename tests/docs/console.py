"""Runs the ``console`` blocks of a Markdown page as a reader would type them, and compares what is printed.

A block holds commands behind ``$ `` (a line that ends with a backslash goes on) and, below each, what it prints. In
the expected output ``...`` stands for any text within a line, and alone on a line for any number of lines. A block
titled ``terminal 2`` is typed into a second terminal. A program that stays in the foreground (``kv node run``, ``kv
watch``, an agent) holds its terminal until a line ``^C``; a block without a command shows what it prints meanwhile.
A command may fail only if the page shows the error: a first line that begins with ``kv: `` or ``error: ``.

Ports 27590 to 27599 are replaced by free ones, in commands and expected output alike; home and working folder are new.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WAIT_S: Final = 40.0
"""For a command to end, or for an expected line to come."""
RETRY_S: Final = 0.2
READS: Final = re.compile(r"^kv (get|list|tree|status|dump|gc|conflicts list|node status|errors|agent status)\b")
"""What a reader would simply type again: nodes that have just started need a moment to find each other."""
FOREGROUND: Final = re.compile(r"^(\S+=\S+ )*(kv (node run|watch|event watch|agent run)|python -m kvagents)\b")

_FENCE: Final = re.compile(r"^( *)```console(?: +title=\"(?P<title>[^\"]*)\")? *$")
_PORT: Final = re.compile(r"\b2759\d\b")


@dataclass(frozen=True, slots=True)
class Step:
    """Something typed (empty: nothing, look at what the program prints) and what the page says it prints."""

    line: int
    terminal: str
    command: str
    expected: tuple[str, ...]


def steps_of(page: Path) -> list[Step]:
    """The steps of a page, in order."""
    steps: list[Step] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for _, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            continue
        block: list[tuple[int, str]] = []
        for number, inner in lines:
            if inner.strip() == "```":
                break
            block.append((number, inner.removeprefix(fence[1])))
        steps += _steps_of_block(block, fence["title"] or "")
    return steps


def _steps_of_block(block: list[tuple[int, str]], terminal: str) -> list[Step]:
    steps: list[Step] = []
    command, number, expected = "", block[0][0] if block else 0, list[str]()
    goes_on = False
    for at, line in block:
        if goes_on:
            command += "\n" + line.removeprefix("> ")
        elif line.startswith("$ ") or line == "^C":
            if command or expected:
                steps.append(Step(number, terminal, command, tuple(expected)))
            command, number, expected = line.removeprefix("$ "), at, []
        else:
            expected.append(line)
            continue
        goes_on = command.endswith("\\")
    if command or expected:
        steps.append(Step(number, terminal, command, tuple(expected)))
    return steps


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Whether the whole of `printed` is as the page says."""
    return re.fullmatch(_pattern(expected), _tidy(printed)) is not None


def begins(expected: tuple[str, ...], printed: str) -> bool:
    """Whether `printed` begins as the page says."""
    return re.match(_pattern(expected), _tidy(printed)) is not None


def _pattern(expected: tuple[str, ...]) -> str:
    out = ""
    for line in expected:
        if line.strip() == "...":
            out += r"(?:.*\n)*?"
        else:
            out += ".*?".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
    return out


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines)


class Foreground:
    """A program that holds a terminal."""

    def __init__(self, command: str, cwd: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._unseen = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._unseen += line
                self._changed.notify_all()

    def expect(self, expected: tuple[str, ...]) -> str | None:
        """Wait until it has printed this; None if it did, else what it printed in place of it."""
        with self._changed:
            if not self._changed.wait_for(lambda: begins(expected, self._unseen), WAIT_S):
                return self._unseen
            match = re.match(_pattern(expected), _tidy(self._unseen))
            assert match is not None
            self._unseen = self._unseen[match.end() :]
        return None

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; the exit code and what was printed since the last look."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1, "it did not end on Ctrl-C"
        self._reader.join(WAIT_S)
        self.close()
        return code, self._unseen

    def kill(self) -> None:
        """For the end of a test."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(WAIT_S)
        self.close()

    def close(self) -> None:
        """Let go of its output."""
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass(slots=True)
class Session:
    """The terminals of one page. `bin` goes first in PATH; commands of make run in `checkout`, others in `home`."""

    page: Path
    home: Path
    bin: Path
    checkout: Path
    running: dict[str, Foreground] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    def run(self, step: Step) -> str | None:
        """Do one step; None if all is as the page says, else a text that tells what is not."""
        expected = tuple(self._with_ports(line) for line in step.expected)
        program = self.running.get(step.terminal)
        if step.command == "^C":
            return self._interrupt(step.terminal, expected)
        if not step.command:
            if program is None:
                return "no program runs in this terminal"
            printed = program.expect(expected)
            return None if printed is None else f"expected in the end:\n{_text(expected)}\nprinted:\n{printed}"
        if program is not None:
            return "the program before still runs in this terminal: end it by ^C"
        command = self._with_ports(step.command)
        if FOREGROUND.match(command):
            program = self.running[step.terminal] = Foreground(command, self.home, self._env())
            printed = program.expect(expected)
            return None if printed is None else f"expected:\n{_text(expected)}\nprinted:\n{printed}"
        return self._once(command, expected)

    def close(self) -> None:
        """End what still runs."""
        for program in self.running.values():
            program.kill()

    def _once(self, command: str, expected: tuple[str, ...]) -> str | None:
        deadline = time.monotonic() + (WAIT_S if READS.match(command) else 0)
        wrong = self._try(command, expected)
        while wrong is not None and time.monotonic() < deadline:
            time.sleep(RETRY_S)
            wrong = self._try(command, expected)
        return wrong

    def _try(self, command: str, expected: tuple[str, ...]) -> str | None:
        cwd = self.checkout if command.startswith("make ") else self.home
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=cwd,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_S * 2,
            check=False,
        )
        may_fail = bool(expected) and expected[0].startswith(("kv: ", "error: ", "Error: "))
        if done.returncode and not may_fail:
            return f"exit code {done.returncode}:\n{done.stdout}"
        if expected and not matches(expected, done.stdout):
            return f"expected:\n{_text(expected)}\nprinted:\n{done.stdout}"
        return None

    def _interrupt(self, terminal: str, expected: tuple[str, ...]) -> str | None:
        program = self.running.pop(terminal, None)
        if program is None:
            return "no program runs in this terminal"
        code, printed = program.interrupt()
        if code:
            return f"exit code {code} after ^C:\n{printed}"
        if expected and not matches(("...", *expected), printed):
            return f"expected after ^C:\n{_text(expected)}\nprinted:\n{printed}"
        return None

    def _env(self) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("KV", "PYTEST"))}
        return keep | {
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home),
            # Where a node listens that is not told.
            "KVNODE_LISTEN": f"127.0.0.1:{self._port('27590')}",
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _with_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: self._port(match[0]), text)

    def _port(self, written: str) -> str:
        if written not in self.ports:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.ports[written] = str(probe.getsockname()[1])
        return self.ports[written]


def _text(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)
