"""MTCNN: finds faces in three steps and follows known faces with the third alone."""
