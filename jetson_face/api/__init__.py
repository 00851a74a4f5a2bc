"""The Python API: a `Recognizer` that enrols people, says who is in a picture, and watches."""

from jetson_face.api.face import Face
from jetson_face.api.images import Image
from jetson_face.api.recognizer import Recognizer
from jetson_face.api.watch import Watch
from jetson_face.gallery.enroll import EnrollmentResult, Refusal

__all__ = ["EnrollmentResult", "Face", "Image", "Recognizer", "Refusal", "Watch"]
