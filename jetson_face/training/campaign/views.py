"""What cameras, light and detectors do to aligned faces, on the device that trains.

Whole batches of RGB faces (N, 3, 112, 112), float, 0 to 255. A face of few pixels is brought down,
made noisy and coded in 8x8 blocks at that size, and only then brought up again, as a camera and a
detector do it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from jetson_face.training.campaign.settings import SIZES

if TYPE_CHECKING:
    from jetson_face.training.campaign.settings import ViewSettings

LUMA = (0.299, 0.587, 0.114)
# JPEG's tables (ITU-T T.81, annex K.1), row by row.
_LUMA_STEPS = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_COLOUR_STEPS = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *((99,) * 32),
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def changed(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """Changed copies; the same generator state gives the same pictures on one device."""
    out = _warp(faces, how, draw)
    out = _light(out, how, draw)
    out = _cover(out, how, draw)
    out = _blur(out, how, draw)
    out = _camera(out, how, draw)
    return out.clamp_(0, 255)


def mixed(views: Tensor, chance: float, draw: torch.Generator) -> Tensor:
    """Some of the views with another of the batch in them, blended or as a rectangle.

    The teacher says what that is like (Beyer et al., "Knowledge distillation: a good teacher is
    patient and consistent", 2022): so few faces are never seen twice in the same way. Zhang et
    al., "mixup", 2018; Yun et al., "CutMix", 2019.
    """
    count, side = len(views), views.shape[-1]
    other = views[torch.randperm(count, generator=draw, device=draw.device)]
    share = _uniform(count, 0.2, 0.8, draw)[:, None, None, None]
    across = torch.arange(side, device=draw.device)
    length = (share * side * side).sqrt()
    inside = torch.ones_like(share, dtype=torch.bool)
    for axis in ((1, 1, 1, -1), (1, 1, -1, 1)):
        begin = _uniform(count, 0, 1, draw)[:, None, None, None] * (side - length)
        place = across.view(axis)
        inside = inside & (place >= begin) & (place < begin + length)
    blended = _chosen(count, 0.5, draw)[:, None, None, None]
    weight = torch.where(blended, share, inside.float())
    weight = weight * _chosen(count, chance, draw)[:, None, None, None]
    return views + weight * (other - views)


def _uniform(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, generator=draw, device=draw.device) * (high - low) + low


def _normal(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw, device=draw.device)


def _chosen(count: int, chance: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, generator=draw, device=draw.device) < chance


def _warp(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """Landmark jitter as one affine map a face, and the mirror image of some."""
    count, side = len(faces), faces.shape[-1]
    angle = _normal(draw, count) * math.radians(how.rotate_deg)
    scale = (_normal(draw, count) * how.scale).exp()
    shear = _normal(draw, count, 2) * how.shear
    shift = _normal(draw, count, 2) * how.shift_px * 2 / side
    mirror = 1 - 2 * _chosen(count, how.flip, draw).float()
    cos, sin = scale * angle.cos(), scale * angle.sin()
    row1 = torch.stack([cos * mirror, (shear[:, 0] - sin), shift[:, 0]], 1)
    row2 = torch.stack([(shear[:, 1] + sin) * mirror, cos, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([row1, row2], 1), list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _light(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """Gain, offset and gamma, a little of each for every channel; some without colour."""
    count = len(faces)
    on = _chosen(count, how.colour, draw).float()[:, None]
    gamma = (_normal(draw, count, 1) * 0.25 * on).exp()
    gain = ((_normal(draw, count, 1) * 0.2 + _normal(draw, count, 3) * 0.06) * on).exp()
    offset = (_normal(draw, count, 1) * 0.06 + _normal(draw, count, 3) * 0.02) * on
    unit = (faces / 255).clamp(1e-4, 1).pow(gamma[:, :, None, None])
    out = ((unit - 0.5) * gain[:, :, None, None] + 0.5 + offset[:, :, None, None]) * 255
    grey = _chosen(count, how.grey, draw)
    if bool(grey.any()):
        weight = torch.tensor(LUMA, device=faces.device)[None, :, None, None]
        out[grey] = (out[grey] * weight).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    return out.clamp_(0, 255)


def _cover(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """A hand or a mask as a filled box; black beyond a slanting edge, the end of the picture."""
    count, side = len(faces), faces.shape[-1]
    at = torch.arange(side, device=faces.device, dtype=torch.float32)
    on = _chosen(count, how.occlude, draw)
    high, wide = _uniform(count, 0.12, 0.42, draw) * side, _uniform(count, 0.12, 0.42, draw) * side
    top = _uniform(count, 0, 1, draw) * (side - high)
    left = _uniform(count, 0, 1, draw) * (side - wide)
    rows = (at >= top[:, None]) & (at < (top + high)[:, None])
    columns = (at >= left[:, None]) & (at < (left + wide)[:, None])
    box = (rows[:, :, None] & columns[:, None, :] & on[:, None, None])[:, None]
    paint = torch.rand(count, 3, 1, 1, generator=draw, device=draw.device) * 255
    out = torch.where(box, paint, faces)
    cut = _chosen(count, how.border, draw)
    angle = torch.randint(0, 4, (count,), generator=draw, device=draw.device) * (math.pi / 2)
    angle = angle + _normal(draw, count) * 0.26
    away = (at - side / 2)[None, None, :] * angle.cos()[:, None, None]
    away = away + (at - side / 2)[None, :, None] * angle.sin()[:, None, None]
    edge = _uniform(count, 0.12, 0.5, draw) * side
    beyond = (away > edge[:, None, None]) & cut[:, None, None]
    return out.masked_fill_(beyond[:, None], 0)


def _blur(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """Out of focus, or moved while the shutter was open, in any direction."""
    rows = _chosen(len(faces), how.blur, draw).nonzero().flatten()
    count, reach = len(rows), 4
    if count == 0:
        return faces
    at = torch.arange(-reach, reach + 1, device=faces.device, dtype=torch.float32)
    sigma = _uniform(count, 0.5, 2.2, draw)[:, None, None]
    round_ = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * sigma**2))
    angle = _uniform(count, 0, math.pi, draw)[:, None, None]
    length = _uniform(count, 1.0, 4.0, draw)[:, None, None]
    along = at[None, None, :] * angle.cos() + at[None, :, None] * angle.sin()
    across = at[None, :, None] * angle.cos() - at[None, None, :] * angle.sin()
    streak = torch.exp(-(across**2) / 0.5) * (along.abs() <= length)
    moved = _chosen(count, 0.5, draw)[:, None, None]
    kernel = torch.where(moved, streak, round_)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    side = faces.shape[-1]
    given = faces[rows].reshape(1, count * 3, side, side)
    weight = kernel.repeat_interleave(3, 0)[:, None]
    padded = F.pad(given, (reach,) * 4, mode="replicate")
    out = faces.clone()
    out[rows] = F.conv2d(padded, weight, groups=count * 3).reshape(count, 3, side, side)
    return out


def _camera(faces: Tensor, how: ViewSettings, draw: torch.Generator) -> Tensor:
    """Few pixels, sensor noise and block coding, at the size that the camera saw the face."""
    count, side = len(faces), faces.shape[-1]
    small = _chosen(count, how.small, draw)
    kind = torch.randint(0, len(SIZES), (count,), generator=draw, device=draw.device)
    kind = torch.where(small, kind, torch.full_like(kind, -1))
    noisy, coded = _chosen(count, how.noise, draw), _chosen(count, how.jpeg, draw)
    out = faces.clone()
    for number in range(-1, len(SIZES)):
        rows = (kind == number).nonzero().flatten()
        if len(rows) == 0:
            continue
        part = faces[rows]
        if number >= 0:
            part = F.interpolate(part, size=SIZES[number], mode="area")
        part = _noise(part, noisy[rows], draw)
        part = _blocks(part, coded[rows], draw)
        if number >= 0:
            part = F.interpolate(part, size=side, mode="bilinear", align_corners=False)
        out[rows] = part
    return out


def _noise(faces: Tensor, on: Tensor, draw: torch.Generator) -> Tensor:
    """Gaussian, stronger in the dark; half of it common to the three channels."""
    strength = _uniform(len(faces), 2, 16, draw) * on
    shape = (len(faces), 1, *faces.shape[2:])
    grain = 0.7 * _normal(draw, *shape) + 0.7 * _normal(draw, *faces.shape)
    shade = 1.3 - 0.6 * faces / 255
    return (faces + grain * strength[:, None, None, None] * shade).clamp_(0, 255)


def _blocks(faces: Tensor, on: Tensor, draw: torch.Generator) -> Tensor:
    """JPEG's loss: 8x8 cosine transform, rounding to the tables of a quality from 15 to 75."""
    quality = _uniform(len(faces), 15, 75, draw)
    rows = on.nonzero().flatten()
    if len(rows) == 0:
        return faces
    out = faces.clone()
    out[rows] = coded_blocks(faces[rows], quality[rows])
    return out


def coded_blocks(faces: Tensor, quality: Tensor) -> Tensor:
    """Faces (N, 3, H, W), H and W whole eights, as JPEG of ``quality`` (N,) leaves them.

    ITU-T T.81, A.3.3 and annex K.1; colour at full resolution.
    """
    count, _, high, wide = faces.shape
    to_ycc = torch.tensor(_TO_YCC, device=faces.device)
    ycc = torch.einsum("ij,njhw->nihw", to_ycc, faces)
    ycc = ycc - torch.tensor((128.0, 0, 0), device=faces.device)[None, :, None, None]
    cosine = _cosines(faces.device)
    cut = ycc.reshape(count, 3, high // 8, 8, wide // 8, 8).permute(0, 1, 2, 4, 3, 5)
    waves = cosine @ cut @ cosine.T
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = torch.tensor([_LUMA_STEPS, _COLOUR_STEPS, _COLOUR_STEPS], device=faces.device)
    step = (steps.float()[None] * percent[:, None, None] / 100).round().clamp(1, 255)
    step = step.reshape(count, 3, 1, 1, 8, 8)
    waves = (waves / step).round() * step
    back = (cosine.T @ waves @ cosine).permute(0, 1, 2, 4, 3, 5).reshape(count, 3, high, wide)
    back = back + torch.tensor((128.0, 0, 0), device=faces.device)[None, :, None, None]
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycc), back).clamp_(0, 255)


def _cosines(device: torch.device) -> Tensor:
    """The matrix (8, 8) of the orthonormal cosine transform."""
    k = torch.arange(8, dtype=torch.float32, device=device)
    out = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    out[0] /= math.sqrt(2)
    return out
