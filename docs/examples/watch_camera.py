"""Who is before a camera, for some seconds: python watch_camera.py rtsp://camera/stream 60

A camera's number, csi://0, v4l2:///dev/video0 and test://?live=1 do as well.
"""

from __future__ import annotations

import sys
import time

import jetson_face

source, seconds = sys.argv[1], float(sys.argv[2])
with jetson_face.Recognizer() as recognizer:
    decided, end = 0, time.monotonic() + seconds
    for frame, faces in recognizer.watch(source):
        decided += 1
        for face in faces:
            if face.changed:
                print(f"frame {frame.seq}: track {face.track} is {face.name or face.state}")
        if time.monotonic() > end:
            break  # this closes the camera
    print(f"{decided} frames decided, {frame.seq + 1 - decided} dropped to keep up")
