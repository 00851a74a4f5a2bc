"""Which frames are searched for faces: every N-th, and sooner when a face was lost."""

from __future__ import annotations


class Sampler:
    """Says for each frame, in order, whether a full detection runs on it.

    The first frame is searched, then every `every_n`-th after the last search. A lost face brings
    the next search forward, but never nearer than `cooldown` frames to the last one: a face that
    the refiner loses again and again then costs at most every_n / cooldown times the searches
    instead of turning the sampling rate into 1.

    cooldown: frames, 1 to every_n; by default half of every_n, rounded up.
    """

    def __init__(self, every_n: int, *, cooldown: int | None = None) -> None:
        self._since: int | None = None
        self._lost = False
        self._cooldown_wanted = cooldown
        self.set_every(every_n)

    @property
    def every_n(self) -> int:
        """The sampling rate N: one frame in N is searched."""
        return self._every_n

    @property
    def cooldown(self) -> int:
        """Frames between two searches that a lost face cannot shorten."""
        return self._cooldown

    def set_every(self, every_n: int) -> None:
        """Change the sampling rate from the next frame on. Raises ValueError below 1."""
        if every_n < 1:
            raise ValueError(f"sampling rate must be 1 or more, got {every_n}")
        wanted = (every_n + 1) // 2 if self._cooldown_wanted is None else self._cooldown_wanted
        if wanted < 1:
            raise ValueError(f"cooldown must be 1 frame or more, got {wanted}")
        self._every_n = every_n
        self._cooldown = min(wanted, every_n)

    def lose(self) -> None:
        """A face was lost since the last search: search as soon as the cooldown allows."""
        self._lost = True

    def next(self) -> bool:
        """True when the frame that comes now is to be searched. Call once a frame, in order."""
        since = None if self._since is None else self._since + 1
        wanted = self._cooldown if self._lost else self._every_n
        if since is not None and since < wanted:
            self._since = since
            return False
        self._since = 0
        self._lost = False
        return True

    def reset(self) -> None:
        """Search the next frame whatever was before: a new size, a source that came back."""
        self._since = None
        self._lost = False
