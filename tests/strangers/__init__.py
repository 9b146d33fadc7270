"""Somebody's package ``mine``: one part in each file, copied to a folder outside of Overtone by ``test_plugins.py``."""
