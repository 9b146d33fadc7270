"""The page of a study: one self-contained HTML file, made from what is on disk and from nothing else."""

from overtone.report.page import write_explained, write_page

__all__ = ["write_explained", "write_page"]
