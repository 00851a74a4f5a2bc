"""The demo in a browser: a service whose camera sees two people, one of them enrolled.

The camera is synthetic: the two portraits of the clip move over a background until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

import cv2
import demo_clip

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from jetson_face.web.accounts import Accounts

REPO = Path(__file__).resolve().parents[1]
CONFIG = """\
state_dir: {state}
sources:
  - {{uri: "test://?live=1&fps=10&frames=10000000&width=640&height=480&faces={heads}", name: demo}}
backend: {{type: onnxruntime}}
detector: {{type: mtcnn, min_face_px: 40}}
service: {{crops: true}}
"""


def prepare(out: Path) -> Path:
    """Portraits, an empty state and a configuration; returns the configuration's path."""
    heads = out / "heads"
    shutil.rmtree(out / "state", ignore_errors=True)
    heads.mkdir(parents=True, exist_ok=True)
    for who in demo_clip.NAMES:
        cv2.imwrite(str(heads / f"{who}.png"), demo_clip.head(who))
    demo_clip.save_people(out / "people")
    config = out / "config.yaml"
    config.write_text(CONFIG.format(state=out / "state", heads=heads), "utf-8")
    return config


def wait_until_ready(state: Path, service: subprocess.Popen[bytes]) -> None:
    """Returns when frames are decided, or the service ended."""
    while service.poll() is None:
        with contextlib.suppress(JetsonFaceError, ValueError):
            if json.loads(ask(state / "status.sock", "/status").body).get("ready"):
                return
        time.sleep(0.2)


def main() -> int:
    """0, or the exit code of what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPO / "demo-output" / "web", metavar="DIR")
    parser.add_argument("--port", type=int, default=8642)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    args = parser.parse_args()
    out = args.output.resolve()
    program = [sys.executable, "-m", "jetson_face"]
    config = prepare(out)
    password = secrets.token_urlsafe(9)
    Accounts(out / "accounts").set_password("admin", password, "admin")
    photo = next((out / "people" / demo_clip.NAMES["collins"]).iterdir())
    name = demo_clip.NAMES["collins"]
    enrol = [*program, "enroll", "--name", name, str(photo), "-c", str(config)]
    if code := subprocess.run(enrol, check=False).returncode:
        return code
    service = subprocess.Popen([*program, "service", "run", "-c", str(config)])
    try:
        wait_until_ready(out / "state", service)
        page = subprocess.Popen(
            [*program, "web", "run", "-c", str(config), "--state", str(out / "accounts"),
             "--port", str(args.port)]
        )  # fmt: skip
        try:
            print(
                f"sign in as admin with the password {password} (made for this demo); Ctrl-C ends"
            )
            print(f"the other one is not enrolled: drop {out / 'people'} / … on the screen People")
            sys.stdout.flush()
            if not args.no_browser:
                time.sleep(2)
                webbrowser.open(f"http://127.0.0.1:{args.port}/")
            return page.wait()
        finally:
            page.terminate()
    except KeyboardInterrupt:
        return 0
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    sys.exit(main())
