"""Where are the faces: image in, boxes and landmarks out."""
