"""``python -m overtone``, the form that launchers of several processes take."""

from overtone.cli import main

main()
