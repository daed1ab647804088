"""The report as one self-contained HTML page: no other file, no address, light and dark.

markup    elements whose text is escaped
prose     verdict, first divergence, causes, coverage, notes, environment
depth     error by depth, as SVG
heat      where in a tensor the gap lies, as pictures
layers    the table of every layer, which sorts and filters
page      all of it together
"""

from parity.report.html.page import page, write

__all__ = ["page", "write"]
