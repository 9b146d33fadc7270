"""Processes that other processes start."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent(_: int = 0) -> None:
    """In a process that multiprocessing started: end as soon as the one that started it has, however it ended."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
