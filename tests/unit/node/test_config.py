"""The configuration: precedence, origins, one line per error, and that schema and program say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kvnode.core.ticks import check_name
from kvnode.data.schemas import read_schema
from kvnode.node.config import NodeConfig
from kvnode.node.settings import ConfigError, leaves, load, variable_of
from kvnode.transport.address import parse_address

MINIMAL = {"name": "attic", "store": "memory"}


def write(folder: Path, text: str) -> Path:
    file = folder / "node.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def errors_of(file: Path | None = None, env: dict[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, env=env or {}, flags=flags)
    lines = caught.value.lines
    assert all("\n" not in line for line in lines)
    return [line.removeprefix(f"{file}:").lstrip() for line in lines]


# -- schema and program --------------------------------------------------------------------------------------


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(read_schema("node"))


def test_defaults_of_schema_and_program_are_equal() -> None:
    rows = {key: value for key, value, _ in load(env={}, flags=MINIMAL).rows()}
    for key, schema in leaves():
        if key in ("name", "data"):
            assert "default" not in schema, f"{key} must be given"
        elif key != "store":
            value = rows[key]
            assert schema["default"] == (list(value) if isinstance(value, tuple) else value), key
    assert list(rows) == [key for key, _ in leaves()]
    assert NodeConfig("attic").store == dict(leaves())["store"]["default"]


def test_every_setting_says_what_it_is_and_expects() -> None:
    for key, schema in leaves():
        assert schema["description"].endswith("."), key
        assert schema["x-expected"], key


def test_defaults_pass_the_schema() -> None:
    Draft202012Validator(read_schema("node")).validate(
        {"name": "a", "data": "d"} | {k: s["default"] for k, s in leaves() if "default" in s and "." not in k}
    )


@given(st.text("aZ0._-~ä\n", max_size=3) | st.text("a", min_size=62, max_size=65))
def test_schema_and_core_agree_on_names(name: str) -> None:
    try:
        check_name(name)
        allowed = True
    except ValueError:
        allowed = False
    assert Draft202012Validator(dict(leaves())["name"]).is_valid(name) is allowed


# -- precedence ----------------------------------------------------------------------------------------------


def test_flag_over_variable_over_file_over_default(tmp_path: Path) -> None:
    file = write(tmp_path, "name: attic\ndata: /a\nlisten: 127.0.0.1:1\ncluster: one\nlog:\n  level: debug\n")
    env = {"KVNODE_LISTEN": "127.0.0.1:2", "KVNODE_CLUSTER": "two", "KVNODE_LIMITS_MAX_CONNECTIONS": "7"}
    settings = load(file, env=env, flags={"listen": "127.0.0.1:3", "cluster": None, "peers": ()})
    config = settings.config
    assert (config.listen, config.cluster, config.log.level, config.backend) == (
        "127.0.0.1:3",
        "two",
        "debug",
        "asyncio",
    )
    assert config.limits.max_connections == 7
    origins = {key: origin for key, _, origin in settings.rows()}
    assert origins["listen"] == "--listen"
    assert origins["cluster"] == "KVNODE_CLUSTER"
    assert origins["name"] == f"{file}:1"
    assert origins["log.level"] == f"{file}:6"
    assert origins["backend"] == "default"


def test_a_variable_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "name: attic\ndata: /a\n")
    assert load(env={"KVNODE_CONFIG": str(file)}).config.name == "attic"
    assert load(env={"KVNODE_CONFIG": "/does/not/count"}, flags=MINIMAL, file=file).config.name == "attic"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("KVNODE_PEERS", "a:1, b:2,[::1]:3", "peers", ("a:1", "b:2", "[::1]:3")),
        ("KVNODE_PEERS", "", "peers", ()),
        ("KVNODE_INSECURE", "true", "insecure", True),
        ("KVNODE_LOG_FORMAT", "json", "log.format", "json"),
        ("KVNODE_LIMITS_MAX_SKEW_MS", "500", "limits.max_skew_ms", 500),
        ("KVNODE_NAME", "007", "name", "007"),
    ],
)
def test_variables_are_read_by_the_type_of_their_key(variable: str, text: str, key: str, value: object) -> None:
    rows = load(env={"KVNODE_NAME": "n", "KVNODE_STORE": "memory", variable: text}).rows()
    assert (value, variable) in [(v, origin) for k, v, origin in rows if k == key]


def test_every_setting_has_a_variable_of_its_own() -> None:
    variables = [variable_of(key) for key, _ in leaves()]
    assert len(set(variables)) == len(variables)
    assert "KVNODE_CONFIG" not in variables


def test_a_mistyped_variable_is_warned_of_and_others_are_let_be() -> None:
    env = {"KVNODE_LISTNE": "127.0.0.1:1", "KVNODE_PORT_27590_TCP_PROTO": "tcp", "KVNODE_SERVICE_HOST": "10.0.0.1"}
    assert load(env=env, flags=MINIMAL).warnings == (
        "KVNODE_LISTNE: not a setting, ignored; did you mean KVNODE_LISTEN?",
    )


# -- errors --------------------------------------------------------------------------------------------------


def test_errors_name_file_line_key_and_what_is_expected(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """\
name: attic
data: /a
lisen: 127.0.0.1:1
peers:
  - b:1
  - 12
limits: {max_value_bytes: 1}
log:
  level: loud
  colour: red
""",
    )
    assert errors_of(file) == [
        "3: lisen: expected a known key; did you mean listen?",
        "6: peers[1]: expected HOST:PORT or [IPV6]:PORT, such as attic.lan:27590, found 12",
        "7: limits.max_value_bytes: expected a whole number of bytes from 1024 to 4194304, found 1",
        "9: log.level: expected debug, info, warning or error, found 'loud'",
        "10: log.colour: expected a known key; one of level, format",
    ]


def test_errors_of_variables_and_flags_name_them() -> None:
    env = {"KVNODE_LIMITS_MAX_SKEW_MS": "soon", "KVNODE_PEERS": "a:1,b"}
    assert errors_of(env=env, backend="twisted", **MINIMAL) == [
        "KVNODE_LIMITS_MAX_SKEW_MS: limits.max_skew_ms: expected a whole number of milliseconds from 100 to 86400000,"
        " found 'soon'",
        "KVNODE_PEERS: peers[1]: expected HOST:PORT or [IPV6]:PORT, such as attic.lan:27590, found 'b'",
        "--backend: backend: expected asyncio or trio, found 'twisted'",
    ]


def test_an_error_that_a_higher_source_hides_is_told_all_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, "name: attic\nstore: memory\nlisten: 5\n")
    assert errors_of(file, listen="127.0.0.1:1") == [
        "3: listen: expected HOST:PORT or [IPV6]:PORT, such as 127.0.0.1:27590, found 5"
    ]


def test_what_must_be_given_is_asked_for() -> None:
    name, data = errors_of()
    assert name.startswith("name: expected a name")
    assert name.endswith("give --name, KVNODE_NAME or the key name of the file")
    assert data == "data: expected the path of a folder: give --data, KVNODE_DATA or the key data of the file"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n", "1: expected a mapping of keys to values, found a list"),
        ("name\n", "1: expected a mapping of keys to values, found 'name'"),
        ("name: a\nname: b\n", "2: name: expected each key once, it is on line 1 too"),
        ("name: &x a\ndata: *x\n", "1: expected no aliases: write the value out"),
        ("name: !env HOME\n", "1: expected no tag, found !env"),
        ("name: [a\n", "2: expected YAML 1.2: expected ',' or ']', but got '<stream end>'"),
        ("name: a\n\tdata: b\n", "2: expected YAML 1.2: found character '\\t' that cannot start any token"),
        ("name: a\n---\nname: b\n", "2: expected YAML 1.2: but found another document"),
        ("{a: 1}: b\n", "1: expected keys that are text"),
        ("name:\n", "1: name: expected a name of at most 63 letters, digits, '-', '_' and '.' that begins with a letter"
         " or digit, found nothing"),
        ("log: 5\n", "1: log: expected a mapping with the keys level and format, found 5"),
        ("insecure: yes\n", "1: insecure: expected true or false, found 'yes'"),
        ("name: 2026-01-01\nlisten: 12:30\ninsecure: on\n", "3: insecure: expected true or false, found 'on'"),
        ("[" * 1000, "expected no more than 16 levels"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path: Path, text: str, line: str) -> None:
    file = write(tmp_path, text)
    assert errors_of(file)[0] == line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert errors_of(missing) == ["expected a readable file: No such file or directory"]
    assert errors_of(tmp_path)[0].endswith("expected a readable file: Is a directory")
    binary = tmp_path / "latin"
    binary.write_bytes(b"name: a\ndata: \xe4\n")
    assert errors_of(binary) == ["2: expected UTF-8 text"]
    binary.write_bytes(b"#" * ((1 << 20) + 1))
    assert errors_of(binary) == ["expected a file of at most 1048576 bytes"]


def test_a_whole_number_may_be_written_as_a_float(tmp_path: Path) -> None:
    file = write(tmp_path, "limits:\n  max_skew_ms: 1e3\n  max_connections: 0x10\n")
    limits = load(file, env={}, flags=MINIMAL).config.limits
    assert (limits.max_skew_ms, limits.max_connections) == (1000, 16)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing yet\n"), env={}, flags=MINIMAL).config == NodeConfig("attic", store="memory")


# -- what no schema can say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "[::]:1", "192.168.1.5:1", "attic.lan:1", "127.attic.lan:1", "[::ffff:10.0.0.1]:1"]
)
def test_an_open_address_needs_insecure(listen: str) -> None:
    (line,) = errors_of(listen=listen, **MINIMAL)
    assert line.startswith("--listen: listen: expected a loopback address")
    assert "--insecure" in line
    assert load(env={}, flags={**MINIMAL, "listen": listen, "insecure": True}).config.listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.9.1:65535", "localhost:1", "[::1]:1"])
def test_loopback_needs_nothing(listen: str) -> None:
    assert load(env={}, flags={**MINIMAL, "listen": listen}).config.listen_address.is_loopback


def test_http_is_for_loopback_only_insecure_or_not() -> None:
    (line,) = errors_of(http="0.0.0.0:1", insecure=True, **MINIMAL)
    assert line == "--http: http: expected a loopback address such as 127.0.0.1:27591, found '0.0.0.0:1'"


def test_a_port_out_of_range() -> None:
    (line,) = errors_of(listen="127.0.0.1:65536", **MINIMAL)
    assert line.startswith("--listen: listen: expected HOST:PORT: '65536' in '127.0.0.1:65536' is no port")


# -- values --------------------------------------------------------------------------------------------------


def test_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    config = NodeConfig("attic", data="/d", peers=("b:1",), http="127.0.0.1:2")
    assert config.data_dir == Path("/d")
    assert config.peer_addresses == (parse_address("b:1"),)
    assert config.http_address == parse_address("127.0.0.1:2")
    assert NodeConfig("attic", store="memory").data_dir is None
    assert NodeConfig("attic").http_address is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert config.socket_path == Path("/run/user/7/kvnode/attic.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert config.socket_path == Path("/run/kvnode/attic.sock")
    assert NodeConfig("attic", socket="none").socket_path is None
    assert NodeConfig("attic", socket="./s").socket_path == Path("s")
