"""`config check` and `config show`: addresses, topics and credentials, told with file and line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Command = Callable[..., Any]
Write = Callable[[str, str], Path]


def check(cli: Command, write: Write, text: str) -> Any:
    return cli("config", "check", "-c", write("site.yaml", text))


GOOD = [
    "{type: webhook, url: 'http://host/tür?kasten=süd'}",
    "{type: webhook, url: 'https://bücher.example:8443/'}",
    "{type: webhook, url: 'http://[::1]:8123/api/webhook/x'}",
    "{type: webhook, url: 'http://me:pw@host/'}",
    "{type: mqtt, host: bücher.example, topic: haus/tür, username: me}",
    "{type: mqtt, host: 'fe80::1', port: 8883, tls: true}",
]


@pytest.mark.parametrize("sink", GOOD)
def test_what_can_be_an_address_is_valid(cli: Command, write: Write, sink: str) -> None:
    done = check(cli, write, f"service:\n  sinks:\n    - {sink}\n")
    assert (done.code, done.err) == (0, "")
    assert "site.yaml: valid" in done.out


BAD = [
    ("{type: webhook, url: 'http://host:99999/'}", "url", "invalid port number"),
    ("{type: webhook, url: 'http://host:0/'}", "url", "there is no port 0"),
    ("{type: webhook, url: 'http://'}", "url", "an address is http://HOST/PATH"),
    ("{type: webhook, url: 'http:///path'}", "url", "an address is http://HOST/PATH"),
    ("{type: webhook, url: 'ftp://host/'}", "url", "an address is http://HOST/PATH"),
    ("{type: webhook, url: 'http://a..b/'}", "url", "a host's name"),
    ("{type: webhook, url: 'http://h/a b'}", "url", "no blanks"),
    ('{type: webhook, url: "http://h/\\n\\x1b[2J"}', "url", "no blanks, line ends or control"),
    ("{type: webhook, url: 'http://u:s3cret@h:99999/?sig=s3cret'}", "url", "invalid port number"),
    (
        "{type: webhook, url: 'http://u:p@h/', token_credential: t}",
        "sinks.0.webhook",
        "one of them goes",
    ),
    ("{type: webhook, url: 'http://h/', name: events-file}", "service", "report.events"),
    ("{type: mqtt, host: ''}", "host", "a host is a name"),
    ("{type: mqtt, host: 'mqtt://broker'}", "host", "without scheme, user or path"),
    ("{type: mqtt, host: 'broker:1883'}", "host", "`port` is a key of its own"),
    ("{type: mqtt, host: b, port: 99999}", "port", "must be at most 65535"),
    ("{type: mqtt, host: b, topic: 'faces/#'}", "topic", "no + and no #"),
    ("{type: mqtt, host: b, topic: ''}", "topic", "a topic is not empty"),
    ('{type: mqtt, host: b, topic: "a\\nb"}', "topic", "no control characters"),
    ("{type: mqtt, host: b, password_credential: p}", "mqtt", "needs a username"),
    ('{type: mqtt, host: b, username: "a\\nb"}', "username", "should match"),
]


@pytest.mark.parametrize(("sink", "key", "says"), BAD)
def test_what_cannot_be_is_refused_with_file_and_line(
    cli: Command, write: Write, sink: str, key: str, says: str
) -> None:
    done = check(cli, write, f"service:\n  sinks:\n    - {sink}\n")
    assert done.code == 3
    (line,) = done.err.splitlines()
    place = "site.yaml:1" if key == "service" else "site.yaml:3"
    assert f"{place}: service" in line
    assert f"{key}: " in line
    assert says in line
    assert line.isprintable()
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("rtsp://admin:s3cret@cam:99999/1", "a port is a number from 1 to 65535"),
        ("rtsp://admin:s3cret@cam:x/1", "a port is a number from 1 to 65535"),
        ("rtsp://admin:s3cret@/1", "there is no host in it"),
        ("rtsp:admin:s3cret@cam/1", "wants two slashes"),
        ("rstp://admin:s3cret@cam/1", "unknown scheme 'rstp'"),
        ("rtsp://***@cam/1", "stands for a secret that was hidden"),
        ("http://cam/?psw=***", "stands for a secret that was hidden"),
        ("rtsp://admin:s3cret" + "x" * 80 + "@cam:99999/1", "a port is a number"),
    ],
)
def test_a_camera_that_cannot_be_is_refused_with_file_and_line(
    cli: Command, write: Write, uri: str, says: str
) -> None:
    done = check(cli, write, f"sources:\n  - name: door\n    uri: '{uri}'\n")
    assert done.code == 3
    assert "site.yaml:3: sources.0.uri: " in done.err
    assert says in done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize(
    "uri", ["rtsp://admin:p@ss/w0rd@cam:554/1", "rtsp://[fe80::1]/1", "rtsp://[fe80::1]:554/1",
            "http://cam:8080?x=1", "0", "/dev/video0", "csi://0", "rtsp://u:{credential:p}@cam/1"]
)  # fmt: skip
def test_a_camera_that_can_be_is_valid(cli: Command, write: Write, uri: str) -> None:
    assert check(cli, write, f"sources: [{{uri: '{uri}'}}]\n").code == 0


def test_a_file_whose_name_would_steer_the_terminal_is_told_in_one_line(
    cli: Command, write: Write
) -> None:
    path = write("a\nb\x1b[2J.yaml", "service: {stall: 1}\nsamplnig: 1\n")
    done = cli("config", "check", "-c", path)
    assert done.code == 3
    # Two faults, two lines.
    assert len(done.err.splitlines()) == 2
    assert "a\\nb\\x1b[2J.yaml:1: service.stall: unknown key" in done.err
    assert "\x1b" not in done.err


CREDENTIALS = """
sources:
  - {{uri: 'rtsp://u:{{credential:camera.password}}@cam/1'}}
service:
  sinks:
    - {{type: webhook, url: 'http://h/{{credential:hook.path}}', token_credential: hook.token}}
    - {{type: mqtt, host: b, username: me, password_credential: broker.password}}
  home_assistant: {{host: b, username: me, password_credential: home.password}}
"""
NAMES = ("camera.password", "hook.path", "hook.token", "broker.password", "home.password")


def test_credentials_that_are_not_at_hand_are_said_not_to_be_checked(
    cli: Command, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    done = check(cli, write, CREDENTIALS.format())
    assert done.code == 0
    assert done.err.startswith(
        "not checked: the credentials camera.password, hook.path, hook.token, broker.password, "
        "home.password; "
    )


@pytest.mark.parametrize("broken", [*NAMES, None])
@pytest.mark.parametrize(
    "content", [b"", b"s3cret-one\ns3cret-two\n", b"s3cret\xff", b"s3cret\x1b[2J"]
)
def test_a_credential_that_cannot_be_used_is_named(
    cli: Command,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str | None,
    content: bytes,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in NAMES:
        (tmp_path / name).write_bytes(content if name == broken else b"s3cret-PW\n")
    done = check(cli, write, CREDENTIALS.format())
    if broken is None:
        assert (done.code, done.err) == (0, "")
    else:
        assert done.code == 16
        (line,) = done.err.splitlines()
        assert line.startswith(f"jetson-face: the credential '{broken}' ")
    for stream in (done.out, done.err):
        assert "s3cret" not in stream


def test_a_token_that_no_header_can_have_is_named(
    cli: Command, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "hook.token").write_text("s3cret token\n")
    sink = "{type: webhook, url: 'http://h/', token_credential: hook.token}"
    done = check(cli, write, f"service: {{sinks: [{sink}]}}\n")
    assert done.code == 16
    assert "the credential 'hook.token' has a blank" in done.err
    assert "s3cret" not in done.err


def test_show_hides_secrets_and_says_so(cli: Command, write: Write) -> None:
    path = write(
        "site.yaml",
        "sources: [{uri: 'rtsp://admin:s3cret with blanks@cam/live/admin/s3cret/0?psw=s3cret'}]\n"
        "service: {sinks: [{type: webhook, url: 'https://ha/api/webhook/s3cret?sig=s3cret'},"
        " {type: webhook, name: b, url: 'http://u:s3cret@h/{credential:hook.path}'}]}\n",
    )
    done = cli("config", "show", "-c", path)
    assert done.code == 0
    assert "s3cret" not in done.out
    first, _, rest = done.out.partition("\n")
    assert first == "# *** stands for a secret that is not shown"
    shown = yaml.safe_load(rest)
    assert shown["sources"][0]["uri"] == "rtsp://***@cam/live/admin/***/0?psw=***"
    assert [sink["url"] for sink in shown["service"]["sinks"]] == [
        "https://ha/api/webhook/***?sig=***",
        "http://***@h/{credential:hook.path}",
    ]
    # What was shown is not taken for a configuration by mistake.
    again = cli("config", "check", "-c", write("shown.yaml", done.out))
    assert again.code == 3
    assert "stands for a secret that was hidden" in again.err


def test_show_without_secrets_is_a_configuration(cli: Command, write: Write) -> None:
    done = cli("config", "show", "-c", write("site.yaml", "sampling: {interval: 3}\n"))
    assert not done.out.startswith("#")
    assert cli("config", "check", "-c", write("shown.yaml", done.out)).code == 0


def test_an_override_with_a_secret_is_not_echoed(cli: Command) -> None:
    done = cli("config", "check", "--set", "sources.0.uri=rtsp://u:s3cret@cam:99999/")
    assert done.code == 3
    assert "s3cret" not in done.err
    done = cli("config", "check", "--set", "rtsp://u:s3cret@cam/")
    assert done.code == 3
    assert "s3cret" not in done.err


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp:admin:s3cret@127.0.0.1/1",
        "admin:s3cret@127.0.0.1/1",
        "rstp://admin:s3cret@127.0.0.1/1",
        "http://127.0.0.1:1/video?loginuse=me&loginpas=s3cret",
        "gst:videotestsrc ! nothing-of-this-name user-pw=s3cret",
    ],
)
@pytest.mark.parametrize("command", ["run", "tune"])
def test_a_source_on_the_command_line_shows_no_secret(cli: Command, command: str, uri: str) -> None:
    more = ("--fps", "10") if command == "tune" else ("--set", "sources.0.open_timeout_s=1")
    done = cli(command, "--source", uri, *more)
    assert done.code != 0
    assert "s3cret" not in done.out + done.err


def test_a_stream_that_is_refused_shows_no_secret_in_any_stream(tmp_path: Path) -> None:
    uri = "rtsp://admin:s3cret@127.0.0.1:1/live/admin/s3cret/0?psw=s3cret"
    done = subprocess.run(
        [sys.executable, "-m", "jetson_face", "run", "--source", uri,
         "--set", f"state_dir={tmp_path}", "--set", "sources.0.open_timeout_s=2"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 6
    assert "rtsp://***@127.0.0.1:1/live/admin/***/0?psw=***" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
