"""Enrol a person from photos: python enroll.py "Ada Lovelace" 1.jpg 2.jpg"""

from __future__ import annotations

import sys

import jetson_face

name, *photos = sys.argv[1:]
with jetson_face.Recognizer() as recognizer:
    result = recognizer.enroll(name, photos)
    print(f"{name}: {len(result.added)} added, {len(result.already)} were there already")
    for refusal in result.refused:
        print(f"  refused {refusal.path}: {refusal.reason}")
    for person in recognizer.people:
        print(f"enrolled: {person.name}, {len(person.templates)} photos")
