"""Log lines: one line each, without secrets, whatever was logged."""

from __future__ import annotations

import io
import logging

import pytest

from jetson_face.service.recent import RecentErrors
from jetson_face.util.cleanlog import CleanFormatter
from jetson_face.util.redact import remember


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO, RecentErrors]:
    """A logger with the program's own formatter, its stream, and what the status would show."""
    stream, recent = io.StringIO(), RecentErrors()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(CleanFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.addHandler(recent)
    return logger, stream, recent


def test_a_line_is_one_line_without_secrets(
    log: tuple[logging.Logger, io.StringIO, RecentErrors],
) -> None:
    logger, stream, recent = log
    logger.error("cannot open %s: %s", "photo\n\x1b[2J.jpg", "rtsp://me:s3cret@cam/1?psw=s3cret")
    assert stream.getvalue() == (
        "ERROR cannot open photo\\n\\x1b[2J.jpg: rtsp://***@cam/1?psw=***\n"
    )
    assert recent.list()[0]["message"] in stream.getvalue()


def test_a_traceback_tells_no_secret_and_forges_no_line(
    log: tuple[logging.Logger, io.StringIO, RecentErrors],
) -> None:
    logger, stream, recent = log
    remember("a-known-secret-of-this-test")
    try:
        try:
            raise OSError("rtsp://me:s3cret@cam/1")
        except OSError as error:
            raise ValueError(
                "Illegal header value b'Bearer a-known-secret-of-this-test'\nERROR forged \x1b[2J"
            ) from error
    except ValueError:
        logger.exception("sink_failed sink=%s", "hook")
    text = stream.getvalue()
    lines = text.splitlines()
    assert lines[0] == "ERROR sink_failed sink=hook"
    assert all(line.startswith("    ") for line in lines[1:])
    assert any("ValueError" in line for line in lines)
    assert "OSError: rtsp://***@cam/1" in text
    assert "s3cret" not in text
    assert "a-known-secret" not in text
    assert "\x1b" not in text
    assert len(recent.list()) == 1


def test_arguments_that_do_not_fit_are_told_without_secrets(
    log: tuple[logging.Logger, io.StringIO, RecentErrors],
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger, stream, recent = log
    logger.error("one %s two %s", "http://cam/?pwd=s3cret")
    assert "one %s two %s" in stream.getvalue()
    captured = capsys.readouterr()
    for text in (stream.getvalue(), captured.err, captured.out, str(recent.list())):
        assert "s3cret" not in text
