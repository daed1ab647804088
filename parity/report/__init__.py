"""Renderings of a `Report`, for people and machines: terminal, HTML, JUnit. They decide nothing.

    terminal   what a person reads in ten seconds
    html       one self-contained page: error by depth, heat maps, every layer
    junit      one test case a layer and phase, for continuous integration

`report.json` is the report itself (`parity.verdict.record.Report.save`).
"""
