"""What a process knows stays out of core dumps and out of other processes of its user."""

from __future__ import annotations

import ctypes

_PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    """Let this process, which holds the key, its faces and its names, leave no core dump, and let
    no other process of its user read its memory (prctl(2), PR_SET_DUMPABLE).

    A limit of 0 on the size of core files is not enough: a program that the kernel hands the dump
    to, such as systemd-coredump, gets it whatever the limit.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
