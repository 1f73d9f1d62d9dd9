"""Secrets do not leave; what people need in order to help does."""

from __future__ import annotations

from typing import Any

import pytest

from kvnode.data.redact import REDACTED, Redactor, secret_keys

redact, redact_text = Redactor().data, Redactor().text
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("dialling https://kim:hunter2@host.lan:8443/x failed", "hunter2"),
        ("mqtt://hunter2@host", "hunter2"),
        ("kim:hunter2@host", "hunter2"),
        ("password=hunter2 rejected", "hunter2"),
        ('{"api_key": "hunter2", "x": 1}', "hunter2"),
        ("db_password: 'hunter2'", "hunter2"),
        ("Authorization: Bearer hunter2", "hunter2"),
        ("sent header Basic aHVudGVyMg==", "aHVudGVyMg"),
        ("cookie=hunter2; path=/", "hunter2"),
        ("KVNODE_CLUSTER_SECRET=hunter2", "hunter2"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----", "hunter2"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2, cut short", "hunter2"),
        ("cannot read /etc/kvnode/tls/cellar.key: permission denied", "tls/cellar"),
        ("tls: C:\\keys\\node.pem", "node.pem"),
        (f"token is {HEX}", HEX),
        ("got ghp_Zm9vYmFyMTIzNDU2Nzg5MGFi from the form", "Zm9vYmFy"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, secret: str) -> None:
    cleaned = redact_text(text)
    assert secret not in cleaned
    assert REDACTED in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "no link to cellar (192.168.1.7:27590): connection refused; it lacks 12 changes",
        "cellar~0123456789abcdef:7",
        "/var/lib/kvnode/cellar/kv.sqlite: no room left (database or disk is full)",
        "Linux-6.1.0-18-amd64-x86_64-with-glibc2.36",
        "2026-03-01T13:03:07.120Z",
        'kvnode_peer_lag_changes{peer="cellar"} 5',
        "home.heating.living-room-window-sensor-temperature",
        "3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]",
        "unix:/run/user/1000/kvnode/cellar.sock",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name", ["password", "db_passwd", "TOKEN", "client-secret", "key", "tls.key", "keyfile", "key_path", "psk", "auth"]
)
@pytest.mark.parametrize("value", ["hunter2", 7, ["hunter2"], {"a": "hunter2"}, b"hunter2"])
def test_names_tell(name: str, value: Any) -> None:
    assert redact({"at": {name: value}}) == {"at": {name: REDACTED}}


@pytest.mark.parametrize("name", ["author", "monkey", "path", "session", "keys_only", "name", "compass"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert redact({name: "x"}) == {name: "x"}


def test_whether_there_is_one_may_be_known() -> None:
    assert redact({"password": None, "use_token": True}) == {"password": None, "use_token": True}


def test_the_schema_may_mark_more() -> None:
    schema = {
        "properties": {
            "listen": {},
            "wifi": {"properties": {"ssid": {"x-secret": True}, "channel": {}}},
            "owner": {"x-secret": True},
        }
    }
    marked = list(secret_keys(schema))
    assert marked == ["wifi.ssid", "owner"]
    data = {"listen": "x", "owner": "kim", "wifi": {"ssid": "home", "channel": 7}}
    assert Redactor(marked).data(data) == {"listen": "x", "owner": REDACTED, "wifi": {"ssid": REDACTED, "channel": 7}}


def test_keys_and_bytes_and_deep_lists() -> None:
    assert redact([{"http://u:hunter2@h": [b"hunter2", ("password=hunter2", 1.5)]}]) == [
        {f"http://{REDACTED}@h": [REDACTED, [f"password={REDACTED}", 1.5]]}
    ]


def test_known_secrets_go_wherever_they_stand() -> None:
    cleaner = Redactor(values=["hunter2", "hunter2.1", "abc", "(.*)"])
    assert cleaner.text("the hunter2.1 and (.*) abc") == f"the {REDACTED} and {REDACTED} abc"
    assert cleaner.data({"hunter2 x": ["hunter2"]}) == {f"{REDACTED} x": [REDACTED]}
