"""The ``overtone`` command; ``python -m overtone`` is the form that launchers of several processes take."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command, which imports nothing of its own from the current folder.

    ``python -m`` and an empty entry of ``PYTHONPATH`` put that folder in front of installed packages: a ``yaml.py``
    beside somebody's student file would be run. What a recipe names is still found in it (``lookup.py``). Ctrl-C may
    come before the command's modules are imported, so what answers it is set up first.
    """
    here, ours = Path.cwd(), Path(__file__).resolve().parents[1]
    if here != ours:
        sys.path[:] = [place for place in sys.path if place and Path(place).resolve() != here]
    from overtone.streams import end_on_interrupt

    end_on_interrupt()
    from overtone.cli import main as command

    command()


if __name__ == "__main__":
    main()
