"""Which names are accepted, and when two are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.core.errors import NameInvalidError
from jetson_face.gallery.names import LENGTH_MAX, name_key, valid_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Eileen Collins", "Eileen Collins"),
        ("  Grace \u00a0 Hopper\n", "Grace Hopper"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("山田太郎", "山田太郎"),
        ("محمد", "محمد"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("O'Brien-Smith, Jr.", "O'Brien-Smith, Jr."),
        ("x" * LENGTH_MAX, "x" * LENGTH_MAX),
    ],
)
def test_a_usual_name_is_accepted(text: str, name: str) -> None:
    assert valid_name(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("\u200d", "empty"),
        ("../../x", "starts with a dot"),
        (".hidden", "starts with a dot"),
        ("a/b", "'/'"),
        ("a\\b", "holds"),
        ("a\x00b", "U+0000"),
        ("a\nb", "U+000A"),
        ("\u202egnp.exe", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u200bb", "U+200B"),
        ("\ufeffa", "U+FEFF"),
        ("a\ud800", "U+D800"),
        ("x" * (LENGTH_MAX + 1), "101 characters"),
        ("x" * 10_000, "10000 characters"),
        ("x" * 10_000_000, "10000000 characters"),
    ],
)
def test_a_hostile_name_is_refused_in_one_short_line(text: str, says: str) -> None:
    with pytest.raises(NameInvalidError) as error:
        valid_name(text)
    message = str(error.value)
    assert says in message
    assert len(message) < 160
    assert "\n" not in message
    assert message.isprintable()


def test_case_form_and_joiners_do_not_make_another_person() -> None:
    assert name_key("ZOË") == name_key("zoe\u0308")
    assert name_key("STRASSE") == name_key("straße")
    assert name_key("علی\u200cرضا") == name_key("علیرضا")
    assert name_key("Ann") != name_key("Anne")


@given(st.text(max_size=120))
def test_a_name_is_either_refused_or_clean_and_stable(text: str) -> None:
    try:
        name = valid_name(text)
    except NameInvalidError:
        return
    assert 1 <= len(name) <= LENGTH_MAX
    assert valid_name(name) == name
    assert name == unicodedata.normalize("NFC", name).strip()
    assert not {"/", "\\", "\x00", "\u202e"} & set(name)
    assert name_key(valid_name(name)) == name_key(name)
