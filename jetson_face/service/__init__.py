"""The recogniser as a service that runs for a year: lock, signals, watchdog, outbox, reload."""

from jetson_face.service.serving import serve

__all__ = ["serve"]
