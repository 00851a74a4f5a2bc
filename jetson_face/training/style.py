"""Faces in the look of a camera: neural style transfer, as an augmentation.

Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", 2016: a picture is found
by gradient descent whose deep feature maps are those of the content, and whose Gram matrices, at
several layers, are those of the style. Here the content is an aligned face, the style a piece of a
camera's frame (its compression, colour, noise, night), and the network the embedding itself: what
it takes for identity is what the content cost holds on to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import ImageU8
from jetson_face.models.cards import load_card, resolve
from jetson_face.training.campaign.starting import start_from_onnx
from jetson_face.training.net import INPUT_SIZE, SqueezeNetFace, to_input
from jetson_face.training.settings import RecipePart

REPEAT = (3, 5, 5, 7)
SQUEEZE = {2: 32, 3: 32, 4: 64, 5: 64}
"""The shipped network's, as `net` of configs/train_campaign_wide.yaml has them."""
STYLE = (0, 1, 3, 6)
"""Places, among ``Features``' maps, whose Gram matrices are the style: 56, 28, 28 and 14 pixels."""
CONTENT = 7
"""The place whose map is the content: 14 pixels, deep enough that grain is not seen any more."""


class StyleSettings(RecipePart):
    """The weights of the costs, and how a picture is looked for."""

    style: float = Field(4.0, ge=0, description="of the Gram matrices")
    content: float = Field(0.5, ge=0, description="of the content's map")
    identity: float = Field(2.0, ge=0, description="of 1 - cosine of the embedding's vectors")
    smooth: float = Field(50.0, ge=0, description="of more grain than content and style have")
    steps: int = Field(60, ge=1)
    rate: float = Field(0.02, gt=0, description="of Adam, on pixels in [-1, 1]")
    batch: int = Field(16, ge=1, description="faces that are looked for at once")


class Features(nn.Module):
    """Maps inside `squeezenet_face`, and its vectors; nothing of it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SqueezeNetFace(repeat=REPEAT, squeeze=SQUEEZE)
        blank = torch.rand(4, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(1))
        start_from_onnx(self.net, resolve(load_card("squeezenet_face")), blank * 2 - 1)
        self.net.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Pictures (N, 3, 112, 112) in [-1, 1] to maps of growing depth, and unit vectors (N, D).

        The maps: the stem's two, then one of each fire module, up to the last.
        """
        maps: list[Tensor] = []
        for name, layer in self.net.trunk.named_children():
            for part in layer if name == "stem" else [layer]:
                x = part(x)
                if not isinstance(part, nn.MaxPool2d):
                    maps.append(x)
        return maps, F.normalize(self.net.head(x), dim=1)


def gram(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W) to (N, C, C): what goes with what, wherever it is (Gatys, equation 3)."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class Restyle:
    """Renders faces in the look of pictures."""

    def __init__(self, how: StyleSettings, features: Features) -> None:
        self.how, self.features = how, features

    def __call__(self, faces: ImageU8, styles: ImageU8) -> ImageU8:
        """Faces and as many pieces of frames, both (N, 112, 112, 3) uint8 RGB, to faces."""
        content, style = to_input(faces), to_input(styles)
        with torch.no_grad():
            maps, vector = self.features(content)
            wanted = [gram(m) for at, m in enumerate(self.features(style)[0]) if at in STYLE]
        held, grain = maps[CONTENT], torch.maximum(_grain(content), _grain(style))
        picture = in_colours(content, style).requires_grad_(True)
        optim = torch.optim.Adam([picture], lr=self.how.rate)
        for _ in range(self.how.steps):
            optim.zero_grad()
            self.cost(picture, held, vector, wanted, grain).backward()
            optim.step()
            with torch.no_grad():
                picture.clamp_(-1, 1)
        pixels = (picture.detach() * 127.5 + 127.5).round().clamp(0, 255)
        made: ImageU8 = pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
        return made

    def cost(
        self,
        picture: Tensor,
        content: Tensor,
        vector: Tensor,
        wanted: list[Tensor],
        grain: Tensor,
    ) -> Tensor:
        """The sum over all pictures; each part in units of what it is measured against."""
        how = self.how
        maps, own = self.features(picture)
        grams = [gram(m) for at, m in enumerate(maps) if at in STYLE]
        total = how.content * share(maps[CONTENT], content)
        total = total + how.identity * (1 - (own * vector).sum(1))
        for mine, theirs in zip(grams, wanted, strict=True):
            total = total + how.style / len(STYLE) * share(mine, theirs)
        return (total + how.smooth * (_grain(picture) - grain).clamp_min(0)).sum()


def in_colours(content: Tensor, style: Tensor) -> Tensor:
    """The content with the mean and the spread of each channel of the style: where to begin."""
    mean, spread = content.mean((2, 3), keepdim=True), content.std((2, 3), keepdim=True)
    wanted, wide = style.mean((2, 3), keepdim=True), style.std((2, 3), keepdim=True)
    wide = wide.clamp_min(0.15)  # a plain wall must not take the face away
    return ((content - mean) / spread.clamp_min(1e-3) * wide + wanted).clamp(-1, 1)


def _grain(picture: Tensor) -> Tensor:
    """(N,) root mean square of each pixel less the mean of its 3x3 neighbours."""
    fine = picture - F.avg_pool2d(picture, 3, 1, 1)
    return (fine.square().mean((1, 2, 3)) + 1e-8).sqrt()


def share(mine: Tensor, theirs: Tensor) -> Tensor:
    """(N,) squared error, in units of the squares of ``theirs``."""
    error = (mine - theirs).square().flatten(1).sum(1)
    return error / theirs.square().flatten(1).sum(1).clamp_min(1e-8)


def pieces(frames: Iterable[ImageU8], count: int, seed: int) -> ImageU8:
    """``count`` square pieces (count, 112, 112, 3) uint8 RGB of BGR frames, drawn at random.

    A piece is as large as a face may be, 48 to 160 pixels, so that the grain keeps its size.

    Raises:
        InputBrokenError: there is no frame of 48 pixels or more.
    """
    draw = np.random.default_rng(seed)
    held = [frame for frame in frames if min(frame.shape[:2]) >= 48]
    if not held:
        raise InputBrokenError("no frame of 48 pixels or more among the pictures of the style")
    out = np.empty((count, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    for row in range(count):
        frame = held[int(draw.integers(len(held)))]
        high, wide = frame.shape[:2]
        side = int(draw.integers(48, min(160, high, wide) + 1))
        top, left = int(draw.integers(high - side + 1)), int(draw.integers(wide - side + 1))
        piece = frame[top : top + side, left : left + side]
        out[row] = cv2.resize(piece, (INPUT_SIZE, INPUT_SIZE))[:, :, ::-1]
    return out


def restyled(
    how: StyleSettings, features: Features, faces: ImageU8, styles: ImageU8
) -> Iterator[ImageU8]:
    """Batches of faces in the look of ``styles``, in order; face n has style n, from the start
    again where there are fewer."""
    render = Restyle(how, features)
    for first in range(0, len(faces), how.batch):
        part = faces[first : first + how.batch]
        at = np.arange(first, first + len(part)) % len(styles)
        yield render(part, styles[at])


def sheet(faces: ImageU8, styles: ImageU8, made: ImageU8, path: Path) -> None:
    """Content, style and result below each other, as one picture file."""
    rows = [np.concatenate(list(part), axis=1) for part in (faces, styles, made)]
    cv2.imwrite(str(path), np.concatenate(rows)[:, :, ::-1])
