"""The report of a comparison: one self-contained page."""

from temperament.report.page.build import render, write_report

__all__ = ["render", "write_report"]
