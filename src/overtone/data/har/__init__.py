"""Readers of the field's published sets of human activities, each from the files that its authors give out."""
