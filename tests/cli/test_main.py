"""The command line as such: help, examples, global options, errors, completion, plug-ins, the reference page."""

from __future__ import annotations

import asyncio
import os
import runpy
import shlex
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import asyncclick as click
import pytest

from kvnode.cli.command import AfterLoop
from kvnode.cli.errors import EXIT_MEANING, CliError, Exit, explain, unwrap
from kvnode.cli.main import COMMANDS, main, root
from kvnode.cli.settings import Settings
from kvnode.client import errors
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient, reading

Kv = Callable[..., Result]
ROOT = Path(__file__).parents[2]


def _all_commands() -> Iterator[tuple[str, ...]]:
    """Every command by its words, groups included."""
    context = click.Context(root())
    for name in root().list_commands(context):
        yield from _below((name,), root().get_command(context, name))


def _below(words: tuple[str, ...], command: click.Command | None) -> Iterator[tuple[str, ...]]:
    assert command is not None, words
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _below((*words, name), command.get_command(context, name))


ALL = list(_all_commands())


def _command(words: tuple[str, ...]) -> click.Command:
    command: click.Command | None = root()
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


# -- help ----------------------------------------------------------------------------------------------------


def test_the_commands_that_were_promised_are_there() -> None:
    promised = "get set delete list tree watch dump load status gc demo completion node/run node/status node/retire"
    promised += " history why undo partitions/list partitions/show node/find"
    promised += " agent/run agent/run/onewire agent/list agent/status agent/check onewire/scan onewire/bind"
    promised += " conflicts/list conflicts/show conflicts/resolve event/send event/watch"
    assert {tuple(words.split("/")) for words in promised.split()} <= set(ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help(kv: Kv, words: tuple[str, ...]) -> None:
    done = kv(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: kv {' '.join(words)}")
    assert "Examples:\n  kv " in done.out
    assert kv(*words, "-h").out == done.out


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_is_explained(words: tuple[str, ...]) -> None:
    for param in _command(words).params:
        if isinstance(param, click.Option):
            assert param.help, param.name


def test_help_of_everything(kv: Kv) -> None:
    told = kv().out
    assert told == kv("--help").out
    for name, entry in COMMANDS.items():
        assert f"  {name} " in told
        assert entry.help in told


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_as_a_command(kv: Kv, words: tuple[str, ...]) -> None:
    assert kv("help", *words) == kv(*words, "--help")


def test_help_as_a_command_without_a_command_or_with_a_wrong_one(kv: Kv) -> None:
    assert kv("help") == kv("--help")
    wrong = kv("help", "conflict")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Did you mean 'conflicts'?" in wrong.err
    assert kv("help", "node", "nope").err.endswith("(see kv node --help)\n")
    beyond = "kv: kv get has no commands, so no 'home.attic' (see kv get --help)\n"
    assert kv("help", "get", "home.attic") == Result(2, "", beyond)
    assert kv("help", "get", "home", "attic").err == beyond.replace("home.attic", "home")


def _examples() -> Iterator[str]:
    yield from root().examples
    for words in ALL:
        found = getattr(_command(words), "examples", ())
        assert found, words
        yield from found


@pytest.mark.parametrize("example", sorted(set(_examples())))
def test_every_example_parses(example: str) -> None:
    lexer = shlex.shlex(example, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    words = list(lexer)
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        args = part[: part.index(">")] if ">" in part else part
        assert args[0] == "kv"
        asyncio.run(_parse(args[1:]))


async def _parse(args: list[str]) -> None:
    """Parse as far as the callback, which is not called."""
    context = await root().make_context("kv", args, obj=Settings())
    while isinstance(context.command, click.Group):
        name, command, rest = await context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = await command.make_context(name, rest, parent=context)


def test_the_reference_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs/generate_cli.py"))["text"]()
    assert (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8") == made, "run python docs/generate_cli.py"


def test_version(kv: Kv) -> None:
    done = kv("--version")
    assert done.code == 0
    assert done.out.startswith("kvnode ")
    assert kv("version") == done
    row = kv("version", "--format", "json").json
    assert done.out.startswith(f"kvnode {row['version']}")
    assert isinstance(row["compiled"], bool)


# -- global options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("--node", "h:1", "--format", "json", "--timeout", "2", "get", "x"),
        ("get", "--node", "h:1", "--format", "json", "--timeout", "2", "x"),
        ("get", "x", "--node", "h:1", "--format", "json", "--timeout", "2"),
        ("--node", "other:9", "--format", "yaml", "get", "x", "--node=h:1", "--format=json", "--timeout=2"),
    ],
)
def test_global_options_before_and_after(kv: Kv, fake: FakeClient, args: tuple[str, ...]) -> None:
    fake.put(reading("x", "on"))
    assert kv(*args).out == '"on"\n'
    assert (fake.address, fake.timeout_s) == ("h:1", 2.0)


def test_global_options_within_a_group(kv: Kv, fake: FakeClient) -> None:
    assert kv("conflicts", "--node", "h:1", "--format", "json", "list").out == "[]\n"
    assert fake.address == "h:1"


def test_the_variable_names_the_node(kv: Kv, fake: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_NODE", "unix:/tmp/a.sock")
    kv("get", "x")
    assert fake.address == "unix:/tmp/a.sock"
    kv("get", "x", "--node", "h:1")
    assert fake.address == "h:1"


@pytest.mark.parametrize(
    "args",
    [
        ("get",),
        ("get", "x", "y"),
        ("get", "x", "--nope"),
        ("get", "a:b"),
        ("get", ""),
        ("get", "x", "--format", "xml"),
        ("get", "x", "--timeout", "-1"),
        ("get", "x", "--timeout", "soon"),
        ("nope",),
        ("conflicts",),
        ("conflicts", "nope"),
        ("set", "x", "[1"),
        ("set", "x", "two\nlines"),
        ("completion", "tcsh"),
        ("node", "run", "--backend", "curio"),
        ("load", "/nonexistent/file"),
    ],
)
def test_wrong_command_lines_are_one_line_and_code_2(kv: Kv, args: tuple[str, ...]) -> None:
    done = kv(*args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("kv: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("group", ["node", "conflicts", "agent", "onewire"])
def test_a_missing_command_is_told_in_the_same_words_by_all_groups(kv: Kv, group: str) -> None:
    assert kv(group).err == f"kv: missing command (see kv {group} --help)\n"


@pytest.mark.parametrize(
    ("args", "see"), [(("set", "x", "1", "--ack"), "kv set"), (("node", "retire", "x", "--node"), "kv node retire")]
)
def test_an_option_without_its_argument_points_to_the_help_of_its_command(
    kv: Kv, args: tuple[str, ...], see: str
) -> None:
    assert kv(*args).err == f"kv: option '{args[-1]}' requires an argument (see {see} --help)\n"


def test_a_misspelt_command_is_compared_with_all(kv: Kv) -> None:
    assert "Did you mean 'conflicts'?" in kv("conflict").err


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.error("not_found", "no value"), Exit.NOT_FOUND),
        (errors.error("unavailable", "no node"), Exit.UNREACHABLE),
        (errors.error("timeout", "late"), Exit.UNREACHABLE),
        (errors.error("stopping", "later"), Exit.UNREACHABLE),
        (errors.error("protocol_error", "no kvnode"), Exit.UNREACHABLE),
        (errors.error("cas_failed", "changed"), Exit.REFUSED),
        (errors.error("too_large", "too large"), Exit.REFUSED),
        (errors.error("reserved", "not yours"), Exit.REFUSED),
        (errors.error("something_new", "from a later version"), Exit.REFUSED),
        (errors.error("ack_timeout", "late", {"dots": [("a~0", 1)]}), Exit.ACK_TIMEOUT),
        (errors.error("store_unavailable", "disk full"), Exit.ACK_TIMEOUT),
        (errors.error("bad_path", "no path"), Exit.USAGE),
        (errors.error("bad_address", "no address"), Exit.USAGE),
        (TimeoutError(), Exit.UNREACHABLE),
        (OSError(28, "No space left on device"), Exit.FAILED),
        (MemoryError(), Exit.FAILED),
        (ZeroDivisionError("a\nb"), Exit.FAILED),
        (ExceptionGroup("g", [ExceptionGroup("h", [errors.error("not_found", "inside")])]), Exit.NOT_FOUND),
        (CliError("said so", Exit.USAGE), Exit.USAGE),
    ],
)
def test_errors_are_one_line_with_a_code(kv: Kv, fake: FakeClient, error: Exception, code: Exit) -> None:
    fake.fails = error
    done = kv("get", "x")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("kv: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_every_code_of_the_client_has_an_exit_code_that_is_documented() -> None:
    assert set(EXIT_MEANING) == set(Exit)
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    for code, text in EXIT_MEANING.items():
        assert f"| {code.value} | {text} |" in page


def test_debug_shows_where(kv: Kv, fake: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_DEBUG", "1")
    fake.fails = ZeroDivisionError("x")
    assert "Traceback" in kv("get", "x").err


@pytest.mark.parametrize(("chosen", "code"), [(None, 2), (1, 2), (3, 3), (70, 70), (99, 70)])
def test_commands_of_other_packages_choose_an_exit_code_by_their_kind_of_error(chosen: int | None, code: int) -> None:
    error = click.ClickException("the bus is away")
    if chosen is not None:
        error.exit_code = chosen
    assert explain(error) == (code, "the bus is away")


def test_a_group_shows_its_first_error() -> None:
    group = BaseExceptionGroup("g", [asyncio.CancelledError(), ExceptionGroup("h", [ValueError("x")])])
    assert explain(unwrap(group))[1].startswith("internal error: ValueError: x")


def test_control_characters_in_errors_do_not_reach_the_terminal(kv: Kv, fake: FakeClient) -> None:
    fake.fails = errors.error("reserved", "no \x1b[2J")
    assert "\x1b" not in kv("get", "x").err


# -- completion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(kv: Kv, shell: str) -> None:
    done = kv("completion", shell)
    assert done.code == 0
    assert f"_KV_COMPLETE={shell}_complete" in done.out


def _complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> set[str]:
    monkeypatch.setenv("_KV_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", shlex.join(["kv", *words]) if words[-1] else shlex.join(["kv", *words[:-1]]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert main([]) == 0
    return {line.partition(",")[2] for line in capsys.readouterr().out.splitlines() if line}


def test_commands_and_options_complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def complete(*words: str) -> set[str]:
        return _complete(monkeypatch, capsys, *words)

    assert complete("") >= set(COMMANDS)
    assert complete("co") == {"completion", "conflicts"}
    assert complete("node", "") == {"find", "run", "status", "install", "uninstall", "retire"}
    assert complete("conflicts", "re") == {"resolve"}
    assert complete("node", "run", "--log") == {"--log-level", "--log-format"}
    assert complete("watch", "--l") == {"--latest"}
    assert "--node" in complete("get", "--")
    assert complete("get", "--format", "j") == {"json", "jsonl"}
    assert complete("help", "") >= set(COMMANDS)
    assert complete("help", "co") == {"completion", "conflicts"}
    assert complete("help", "conflicts", "re") == {"resolve"}
    assert complete("help", "get", "") == complete("help", "nope", "") == set()
    assert complete("completion", "") == {"bash", "fish", "zsh"}


# -- commands of other packages ------------------------------------------------------------------------------


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Installs commands: `extra` is a program, `broken` fails to load; gives the arguments that `extra` got."""
    calls: list[list[str]] = []

    def program(args: list[str]) -> int:
        calls.append([*args, os.environ.get("KV_NODE", "")])
        return 7

    def load(entry: EntryPoint) -> object:
        if entry.name == "broken":
            raise ImportError("no such package")
        return program

    entries = EntryPoints(EntryPoint(name, "x:y", "kvnode.commands") for name in ("extra", "broken"))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    monkeypatch.setattr(EntryPoint, "load", load)
    return calls


def test_a_program_of_another_package(kv: Kv, plugins: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_NODE", "before")
    assert kv("--node", "h:1", "extra", "run", "--flag", "-h").code == 7
    assert plugins == [["run", "--flag", "-h", "h:1"]]
    assert "extra" in kv("--help").out
    assert kv("--node", "h:1", "help", "extra").code == 7
    assert plugins[1:] == [["--help", "h:1"]]


def test_a_program_that_does_not_load(kv: Kv, plugins: list[list[str]]) -> None:
    done = kv("broken")
    assert done.code == 70
    assert done.err.startswith("kv: the command 'broken' of ")


def test_completion_loads_no_plugin(
    plugins: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(entry: EntryPoint) -> object:
        raise AssertionError(f"{entry.name} was loaded")

    monkeypatch.setattr(EntryPoint, "load", refuse)
    assert _complete(monkeypatch, capsys, "ex") == {"extra"}
    assert _complete(monkeypatch, capsys, "extra", "") == _complete(monkeypatch, capsys, "help", "extra", "") == set()


def test_plugins_are_listed_and_checked_on_demand(kv: Kv, plugins: list[list[str]]) -> None:
    rows = kv("plugins", "--format", "jsonl").lines
    assert {(row["kind"], row["name"], row["problem"]) for row in rows} == {
        (kind, name, "") for kind in ("command", "agent") for name in ("extra", "broken")
    }
    done = kv("plugins", "--check", "--format", "jsonl")
    assert done.code == 1
    assert {row["name"]: row["problem"] for row in done.lines} == {
        "extra": "",
        "broken": "ImportError: no such package",
    }
    assert "ImportError: no such package" in kv("plugins", "--check").out


def test_a_command_may_run_behind_the_loop() -> None:
    assert AfterLoop(lambda: 3).run() == 3


def test_the_demo_says_what_is_missing(kv: Kv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.cli.demo.find_spec", lambda name: None)
    done = kv("demo")
    assert done.code == Exit.FAILED
    assert done.err == "kv: the demo reads thermometers, and for that pyownet is missing: pip install pyownet\n"
