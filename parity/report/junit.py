"""JUnit XML: one test case a layer and phase, so that continuous integration shows where a port went wrong.

A divergence is a failure; what was accepted, or is inherited from an earlier layer, is skipped with its
reason; coverage too low to prove anything is an error of its own case.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from parity.files import write_text
from parity.report import wording
from parity.report.evidence import PHASES, PhaseErrors, phase_errors
from parity.verdict.probe import REMARKS
from parity.verdict.record import JudgedEntry, Phase, Report

# XML 1.0 has no way to write these characters.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write(report: Report, path: str | Path) -> Path:
    """Write the report as JUnit XML.

    Raises:
        CannotCompare: the file cannot be written.
    """
    body = ElementTree.tostring(element(report), encoding="unicode", xml_declaration=True)
    return write_text(path, body + "\n")


def element(report: Report) -> ElementTree.Element:
    """The `testsuites` element: one suite a mode, and one for the coverage."""
    root = ElementTree.Element("testsuites", name="parity")
    for mode in report.modes:
        suite = ElementTree.SubElement(root, "testsuite", name=f"parity.{mode}")
        for judged in report.entries(mode):
            for phase in PHASES:
                errors = phase_errors(judged, phase)
                if errors is not None:
                    _case(suite, judged, phase, errors)
    _structural(root, report)
    _coverage(root, report)
    _probes(root, report)
    for suite in root:
        _count(suite)
    _count(root)
    return root


def _case(suite: ElementTree.Element, judged: JudgedEntry, phase: Phase, errors: PhaseErrors) -> None:
    entry = judged.entry
    call = f" (call {entry.call + 1})" if entry.call else ""
    case = _new_case(suite, f"parity.{entry.mode}.{entry.name}", f"{phase}{call}")
    message = (
        f"{entry.name}, {errors.quantity}: introduced {wording.number(errors.introduced)}, "
        f"inherited {wording.number(errors.inherited)}, rounding explains {wording.number(errors.allowed)}"
    )
    if errors.status == "divergent":
        lines = [f"{side}: {words}" for side, words in wording.sources(judged) if words]
        _outcome(case, "failure", message, "\n".join(lines))
    elif errors.status in ("inherited", "accepted", "no-signal", "reference-inexact"):
        _outcome(case, "skipped", f"{wording.STATUSES[errors.status]}; {message}", "")


def _structural(root: ElementTree.Element, report: Report) -> None:
    """The causes, which say more than a number; a difference of structure has no test case of its own."""
    if not report.causes and not report.accepted:
        return
    suite = ElementTree.SubElement(root, "testsuite", name="parity.causes")
    for kind, causes in (("failure", report.causes), ("skipped", report.accepted)):
        for cause in causes:
            case = _new_case(suite, f"parity.causes.{cause.layer}", cause.id)
            lines = [f"{side}: {words}" for side, words in wording.cause(cause)]
            _outcome(case, kind, f"{cause.id} at {cause.layer}", "\n".join(lines))


def _coverage(root: ElementTree.Element, report: Report) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name="parity.coverage")
    case = _new_case(suite, "parity.coverage", "exercised")
    if report.verdict == "inconclusive":
        lines = [f"{item.name}: {item.reason}; {item.change}" for item in report.coverage.unexercised]
        _outcome(case, "error", wording.coverage(report.coverage), "\n".join(lines))


def _probes(root: ElementTree.Element, report: Report) -> None:
    """A case for each way of looking further, which fails where it shows a difference that is no remark."""
    if not report.probes:
        return
    suite = ElementTree.SubElement(root, "testsuite", name="parity.probes")
    for number, probe in enumerate(report.probes):
        case = _new_case(
            suite, f"parity.probes.{probe.kind}", f"{number} {probe.name or 'model'} ({probe.mode} mode)"
        )
        if probe.outcome == "differs" and probe.kind not in REMARKS:
            _outcome(case, "failure", probe.message, "")
        elif probe.outcome == "unprobed":
            _outcome(case, "error", probe.message, "")


def _new_case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    # Nothing is timed layer by layer; readers of JUnit want the attribute all the same.
    return ElementTree.SubElement(suite, "testcase", classname=_clean(classname), name=_clean(name), time="0")


def _outcome(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    outcome = ElementTree.SubElement(case, kind, message=_clean(message))
    if kind != "skipped":
        outcome.set("type", kind)
    outcome.text = _clean(text) or None


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)


def _count(suite: ElementTree.Element) -> None:
    suite.set("tests", str(sum(1 for _ in suite.iter("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(1 for _ in suite.iter(tag))))
