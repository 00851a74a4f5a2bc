"""Who is in a picture: python identify.py party.jpg"""

from __future__ import annotations

import sys

import jetson_face

with jetson_face.Recognizer() as recognizer:
    for path in sys.argv[1:]:
        for face in recognizer.identify(path):
            near = ", ".join(f"{c.person.name} {c.similarity:.2f}" for c in face.candidates)
            print(f"{path}: {face.name or face.state} at {[round(x) for x in face.box]} ({near})")
