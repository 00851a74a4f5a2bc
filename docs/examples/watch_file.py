"""Who is in a video, and when: python watch_file.py film.mp4"""

from __future__ import annotations

import sys

import jetson_face

with jetson_face.Recognizer(sampling={"interval": 2}) as recognizer:
    first = None
    for frame, faces in recognizer.watch(sys.argv[1]):
        first = first or frame.captured_ns
        for face in faces:
            if face.changed:  # not the same again on every frame
                seconds = (frame.captured_ns - first) / 1e9
                print(f"{seconds:6.2f} s  track {face.track}  {face.state}  {face.name or ''}")
