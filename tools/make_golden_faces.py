"""Make engines/golden_faces.npz: the pictures that every TensorRT plan is judged on.

Two photographs in the public domain, cut to head and shoulders: Eileen Collins (NASA; as in
scikit-image) and Grace Hopper (US Navy; as in matplotlib). Stored as JPEG, so that every machine
decodes the same bytes. Needs: pip install 'jetson-face[demo]'.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from skimage.data import astronaut

from jetson_face.util.files import write_file
from jetson_face.util.images import encode_jpeg

TARGET = Path(__file__).resolve().parent.parent / "engines" / "golden_faces.npz"


def main() -> None:
    """Write the file."""
    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as photo:
        hopper = np.asarray(photo.convert("RGB").resize((410, 480), Image.Resampling.LANCZOS))
    pictures = {"collins": astronaut()[0:330, 70:400], "hopper": hopper}
    stored: dict[str, Any] = {
        name: np.frombuffer(encode_jpeg(np.ascontiguousarray(rgb[..., ::-1]), quality=85), np.uint8)
        for name, rgb in pictures.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **stored)
    write_file(TARGET, buffer.getvalue())
    print(f"{TARGET.name}: {len(buffer.getvalue())} bytes, {', '.join(stored)}")


if __name__ == "__main__":
    main()
