from typing import ClassVar

import numpy as np

from overtone.data import Recordings, Source


class Waves(Source):
    """Two classes of noisy waves by six people."""

    WINDOW: ClassVar = 32

    people: int = 6

    def load(self):
        random, time = np.random.default_rng(0), np.arange(96)
        signals, labels, groups = [], [], []
        for person in range(self.people):
            for label in range(2):
                wave = np.sin(time * (0.2 + 0.3 * label) + person)
                signals.append((wave + 0.1 * random.normal(size=(2, 96))).astype(np.float32))
                labels.append(label)
                groups.append(f"p{person}")
        return Recordings(signals, np.asarray(labels), groups, ("slow", "fast"), ("x", "y"), 10.0, "waves")
