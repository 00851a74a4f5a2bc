"""The configuration says what is wrong, in which line, and how to fix it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from jetson_face.config import Config, load_config
from jetson_face.config.section import Section
from jetson_face.core.errors import ConfigError, InputMissingError

Write = Callable[[str, str], Path]
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("sampling:\n  intervl: 3\n", 2, "sampling.intervl: unknown key; did you mean interval"),
        ("sampling:\n  interval: many\n", 2, "sampling.interval: must be a whole number, got"),
        ("\n\nsampling:\n  interval: 0\n", 4, "must be at least 1, got 0"),
        ("sources:\n  - uri: a.mp4\n    nam: x\n", 3, "sources.0.nam: unknown key"),
        ("sources:\n  - name: x\n", 2, "sources.0.uri: required key is missing"),
        ("sources:\n  - uri: 0\n  - uri: 1\n", 1, "two sources share a name"),
        (
            "sources:\n  - {uri: 0, name: T\u00fcr}\n  - {uri: 1, name: Tu\u0308r}\n",
            1,
            "two sources share a name: ['T\u00fcr', 'T\u00fcr']",
        ),
        (
            "backend:\n  type: tensort\n",
            2,
            "backend.type: unknown type 'tensort'; did you mean tensorrt?",
        ),
        ("- a\n", 1, "expected keys and values, got list"),
        ("a: [1\n", 2, "not valid YAML"),
        ("sampling:\n  interval: 2\n  interval: 3\n", 3, "interval: written twice"),
        ("matching:\n  similarity_min: 1.5\n", 2, "must be at most 1, got 1.5"),
    ],
)
def test_a_mistake_is_named_with_its_line(write: Write, text: str, line: int, says: str) -> None:
    path = write("bad.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


SITE = "sources:\n  - uri: a.mp4\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (SITE + "    open_timeout_s: 10s\n", 3, "seconds, a plain number: 10, got '10s'"),
        (SITE + "    open_timeout_s: 500ms\n", 3, "seconds, a plain number, got '500ms'"),
        (SITE + "    open_timeout_s: 10000\n", 3, "seconds, at most 300, got 10000"),
        ("matching:\n  fpir: 1\n", 2, "fpir: a share (0.01 is 1 %), at most 0.5, got 1"),
        ("matching:\n  fpir: 1%\n", 2, "a share (0.01 is 1 %), a plain number: 0.01, got '1%'"),
        ("service:\n  sinks:\n    - host: b\n", 3, "type is missing: webhook, mqtt or jsonl"),
        (
            "service:\n  sinks:\n    - host: b\n      type: mqqt\n",
            4,
            "service.sinks.0.type: unknown type 'mqqt'; did you mean mqtt?",
        ),
        ("service:\n  sinks:\n    type: mqtt\n", 2, "sinks: a list is wanted here: put `- `"),
        ("sources:\n  - rtsp://h/1\n", 2, "sources.0: keys and values are wanted here: write "
         "`- uri: rtsp://h/1`"),
        ("sources:\n  - rtsp://a:s3cret@h/1\n", 2, "`- uri: rtsp://***@h/1`"),
        ("sources:\n  - uri:rtsp://h/1\n", 2, "sources.0: a space is missing after `uri:`"),
        ("sources:\n  - uri:rtsp://h/1\n    name: x\n", 2, "a space is missing after `uri:`"),
        ("sources:\n  - name: x\n    uri:rtsp://h/1\n", 3, "a space is missing after `uri:`"),
        ("log_level:DEBUG\n", 1, "a space is missing after `log_level:`"),
        ("sources:\n  - uri: rstp://h/1\n", 2, "sources.0.uri: source 'rstp://h/1': unknown "
         "scheme 'rstp': did you mean rtsp?"),
        ("mqtt:\n  host: b\n", 1, "mqtt: unknown key; brokers are under service.sinks"),
        ("sinks: []\n", 1, "sinks: unknown key; did you mean"),
        ("gallery: people.db\n", 1, "keys and values are wanted here: write `path: people.db`"),
        ("log_level: loud\n", 1, "input should be 'DEBUG', 'INFO'"),
        ("sources: rtsp://a:s3cret@h/1\n", 1, "sources: a list is wanted here: write `- uri: "
         "rtsp://***@h/1`"),
        ("sources: 0.5\n", 1, "sources: a list is wanted here, got 0.5"),
        ("sources: true\n", 1, "sources: a list is wanted here, got True"),
        ("sources: []\n", 1, "sources: the list is empty: write an item, or leave the key out"),
        (SITE + "service:\n  sinks: mqtt\n", 4, "sinks: a list is wanted here, got 'mqtt'"),
        (SITE + "sampling:\n  # interval: 5\n", 3, "sampling: nothing is written here: write "
         "what it holds, or leave the key out"),
        ("sources:\n", 1, "sources: nothing is written here"),
        (SITE + "    name:\n", 3, "sources.0.name: nothing is written here"),
        (SITE + "state_dir:\n", 3, "state_dir: nothing is written here"),
        (SITE + "sampling:\n  - interval: 5\n", 3, "not a list: leave the `- ` out"),
        (SITE + "    name: no\n", 3, "a text is wanted here: put it in quotes, got False"),
        (SITE + "    name: 2026-11-29\n", 3, "put it in quotes, got 2026-11-29"),
    ],
)  # fmt: skip
def test_what_people_mistype_is_told_in_their_words(
    write: Write, text: str, line: int, says: str
) -> None:
    path = write("bad.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"{path}:{line}: ")
    assert says in told
    assert told.count("rstp://") <= 1
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("embedder=mynet", "embedder.model=mynet"),
        ("detector=yunet", "detector.type=yunet"),
        ("gallery=people.db", "gallery.path=people.db"),
        ("sampling=3", "sampling.interval=3"),
        ("sources=film.mp4", "sources.0.uri=film.mp4"),
    ],
)
def test_a_section_that_is_set_as_one_value_is_told_the_key(override: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {meant}\?$"):
        load_config(None, [override])
    load_config(None, [meant])


PATHS = (
    "state_dir", "gallery.path", "matching.pair_weights", "engines.cache", "models.mirror",
    "report.events", "report.json_file", "report.video", "report.still", "service.status_socket",
    "fleet.credentials", "fleet.ca", "fleet.key",
)  # fmt: skip
FLEET = ("fleet.server=tls://hub:4222", "fleet.site=north", "fleet.key=k")


def path_of(config: Config, key: str) -> Path:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    assert isinstance(found, Path)
    return found


def test_every_path_may_begin_with_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    named = {
        f"{key}.{name}"
        for key, section in Config.model_fields.items()
        if isinstance(section.annotation, type) and issubclass(section.annotation, Section)
        for name, field in section.annotation.model_fields.items()
        if "Path" in str(field.annotation)
    }
    # A new one belongs there, too.
    assert named == {key for key in PATHS if key != "state_dir" and not key.startswith("fleet.")}
    config = load_config(None, [*FLEET, *(f"{key}=~/a b/{key}" for key in PATHS)])
    for key in PATHS:
        assert path_of(config, key) == tmp_path / "a b" / key
    assert load_config(None, ["state_dir=a/~/b"]).state_dir == Path("a/~/b")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("~nobody-of-that-name/x", "there is no home folder ~nobody-of-that-name: write the whole"),
        ("''", "a path is not empty"),
    ],
)
def test_a_path_that_would_end_up_in_the_current_folder_is_refused(value: str, says: str) -> None:
    for key in ("state_dir", "gallery.path", "report.events"):
        with pytest.raises(ConfigError, match=f"{key}: {says}"):
            load_config(None, [f"{key}={value}"])


def test_every_mistake_has_a_line_of_its_own(write: Write) -> None:
    path = write("bad.yaml", "sampling:\n  interval: 0\ntracking:\n  iou_min: 7\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{path}:2",
        f"{path}:4",
    ]


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_refused_not_a_crash(write: Write, depth: int) -> None:
    with pytest.raises(ConfigError):
        load_config(write("deep.yaml", "a: " + "[" * depth))


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        load_config(tmp_path / "none.yaml")


def test_binary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "x.yaml")


def test_overrides_win_over_the_file(write: Write) -> None:
    path = write("ok.yaml", "sampling:\n  interval: 9\nsources:\n  - uri: a.mp4\n")
    config = load_config(path, ["sampling.interval=2", "sources.0.uri=b.mp4", "gallery.path=g.db"])
    assert config.sampling.interval == 2
    assert config.sources[0].uri == "b.mp4"
    assert config.gallery_path == Path("g.db")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sampling.interval", "write it as KEY=VALUE"),
        ("sampling.interval=0", "must be at least 1"),
        ("sampling.intervl=1", "did you mean interval"),
        ("sources.4.uri=x", "is not an item"),
        ("=3", "write it as KEY=VALUE"),
    ],
)
def test_a_bad_override_is_named_as_it_was_given(write: Write, override: str, says: str) -> None:
    path = write("ok.yaml", "sources:\n  - uri: a.mp4\n")
    with pytest.raises(ConfigError, match="--set") as caught:
        load_config(path, [override])
    assert f"--set {override.partition('=')[0]}" in str(caught.value)
    assert says in str(caught.value)


def test_a_camera_number_is_a_source() -> None:
    assert load_config(None, ["sources=[{uri: 0}]"]).sources[0].uri == "0"


def test_the_built_in_source_can_be_changed_by_an_override() -> None:
    config = load_config(None, ["sources.0.read_timeout_s=2", "sources.0.name=door"])
    assert (config.sources[0].read_timeout_s, config.sources[0].name) == (2, "door")
    assert config.sources[0].uri in ("0", "csi://0")


def test_what_is_shown_loads_again(write: Write) -> None:
    config = load_config(None, ["state_dir=s"])
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert load_config(write("shown.yaml", text)) == config


def test_every_key_says_what_it_is_or_has_a_plain_name() -> None:
    schema = Config.model_json_schema()
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_configs_in_the_repository_are_valid(path: Path) -> None:
    if path.name.startswith("train_"):
        pytest.skip("a training recipe, checked with the training code")
    load_config(path)


def _sections(model: type[Section] = Section) -> Iterator[type[Section]]:
    for below in model.__subclasses__():
        yield below
        yield from _sections(below)


def _numbers() -> list[tuple[type[Section], str, dict[str, Any], int]]:
    """Every key of the configuration that takes numbers, its JSON schema, and how many it takes."""
    found = []
    for model in _sections():
        for key, schema in model.model_json_schema()["properties"].items():
            for choice in schema.get("anyOf", [schema]):
                parts = choice.get("prefixItems", [choice])
                if parts[0].get("type") in ("number", "integer"):
                    found.append((model, key, parts[0], len(parts)))
    return found


NUMBERS = _numbers()


def test_every_number_has_a_least_and_a_greatest_value() -> None:
    """What has none overflows somewhere: 1e300 seconds are no nanoseconds."""
    assert len(NUMBERS) > 40
    unbounded = [
        f"{model.__name__}.{key}"
        for model, key, schema, _ in NUMBERS
        if not schema.keys() & {"minimum", "exclusiveMinimum"}
        or not schema.keys() & {"maximum", "exclusiveMaximum"}
    ]
    assert unbounded == []


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    ("model", "key", "count"),
    [(model, key, count) for model, key, _, count in NUMBERS],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_no_number_may_be_infinite(model: type[Section], key: str, count: int, value: str) -> None:
    number = yaml.safe_load(value)
    with pytest.raises(ValidationError) as caught:
        model.model_validate({key: number if count == 1 else [number] * count})
    assert count == sum(fault["loc"][0] == key for fault in caught.value.errors())


@pytest.mark.parametrize(
    ("value", "says"),
    [(".inf", "finite number"), (".nan", "finite number"), ("1e300", "seconds, at most 86400")],
)
def test_an_endless_time_between_reports_is_refused(value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(None, [f"report.every_s={value}"])
    assert str(caught.value).startswith("--set report.every_s: report.every_s: ")


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("sampling.every=3", "interval"),
        ("sampling.auto.every_min=3", "interval_min"),
        ("sampling.auto.every_max=3", "interval_max"),
        ("fusion.embed_known_every=3", "embed_interval"),
        ("detector.face_px_min=30", "drop_below_px"),
        ("quality.min_face_px=50", "enroll_min_px"),
    ],
)
def test_a_key_of_before_is_told_its_new_name(key: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf": this key is now called {new}$"):
        load_config(None, [key])
    name = key.partition("=")[0].rpartition(".")[0]
    load_config(None, [f"{name}.{new}={key.partition('=')[2]}"])


def test_a_key_of_before_is_named_with_its_line(write: Write) -> None:
    path = write("old.yaml", "log_level: INFO\nsampling:\n  every: 3\n")
    with pytest.raises(ConfigError, match=r"old\.yaml:3: sampling\.every: this key is now called"):
        load_config(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("10m².mp4", "10m_"),
        ("½ Tür_é-1.mp4", "_Tür_é-1"),
        ("Tu\u0308r.mp4", "T\u00fcr"),  # as macOS spells it
        ("a  b.mp4", "a_b"),
        ("٣.mp4", "٣"),
        ("①.mp4", "_"),
    ],
)
def test_a_file_gives_its_source_a_name_that_is_one(file: str, name: str) -> None:
    (source,) = load_config(None, [f"sources=[{{uri: '{file}'}}]"]).sources
    assert source.name == name
