"""The runner of examples: what it takes for equal, and that it notices what is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs import console
from tests.docs.console import Session, Step, begins, matches, steps_of

PAGE = """\
Text.

```console
$ echo one
one
$ echo two \\
>   three
two three
```

1. A list:

    ```console title="terminal 2"
    $ false
    ```

```sh
$ not run
```

```console title="terminal 2"
more
^C
```
"""


def test_pages_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert steps_of(page) == [
        Step(4, "", "echo one", ("one",)),
        Step(6, "", "echo two \\\n  three", ("two three",)),
        Step(14, "terminal 2", "false", ()),
        Step(22, "terminal 2", "", ("more",)),
        Step(23, "terminal 2", "^C", ()),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "equal"),
    [
        (("a",), "a\n", True),
        (("a",), "a", True),
        (("a",), "a  \n", True),
        (("a",), "a\nb\n", False),
        (("a ... c",), "a b c\n", True),
        (("a ... c",), "a b\nc\n", False),
        (("a", "...", "c"), "a\nb\nb\nc\n", True),
        (("a", "...", "c"), "a\nc\n", True),
        (("a.c",), "abc\n", False),
    ],
)
def test_what_is_equal(expected: tuple[str, ...], printed: str, equal: bool) -> None:
    assert matches(expected, printed) is equal
    if equal:
        assert begins(expected, printed.rstrip() + "\nmore\n")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "page.md", tmp_path, Path(sys.executable).parent, tmp_path)


def test_commands_are_run_and_compared(session: Session) -> None:
    assert session.run(Step(1, "", "echo 127.0.0.1:27590", ("127.0.0.1:27590",))) is None
    assert session.ports["27590"] != "27590"
    assert "printed:\nb\n" in (session.run(Step(1, "", "echo b", ("a",))) or "")
    assert "exit code 3" in (session.run(Step(1, "", "exit 3", ())) or "")
    assert session.run(Step(1, "", "echo kv: no; exit 3", ("kv: ...",))) is None
    assert session.run(Step(1, "", "^C", ())) == "no program runs in this terminal"
    assert session.run(Step(1, "", "", ("a",))) == "no program runs in this terminal"


def test_a_program_holds_its_terminal(session: Session) -> None:
    program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("one")
print("two")
signal.sigwait([signal.SIGINT])
print("end")
"""
    (session.home / "kvagents.py").write_text(program, encoding="utf-8")
    start = Step(1, "t", "python -m kvagents", ("one",))
    try:
        assert session.run(start) is None
        assert session.run(start) == "the program before still runs in this terminal: end it by ^C"
        assert session.run(Step(2, "t", "", ("two",))) is None
        assert session.run(Step(3, "t", "^C", ("end",))) is None
        assert session.run(Step(3, "t", "^C", ())) == "no program runs in this terminal"
    finally:
        session.close()


def test_what_a_program_does_not_print_is_noticed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "WAIT_S", 0.2)
    (session.home / "kvagents.py").write_text("import signal; print('one'); signal.pause()", encoding="utf-8")
    try:
        assert "printed:" in (session.run(Step(1, "t", "python -m kvagents", ("two",))) or "")
    finally:
        session.close()
