"""The steps of a diagnosis: the connection before a call, the layer itself, and the cotangents."""

import itertools

import numpy as np

from parity.diagnose.backward import Flow, explain_layer_backward, stopped
from parity.diagnose.evidence import Evidence, PairedCall
from parity.diagnose.exchange import exchanged
from parity.diagnose.identify import Difference, Identified
from parity.diagnose.layers import explain_layer, solve_layer
from parity.diagnose.pattern import pattern
from parity.diagnose.segments import Segment, Source, explain_segment, inside_of, segment_to
from parity.verdict.record import Finding, Note, Phase


class Diagnosis:
    """One diagnosis under way: call its steps in the order of execution, then read `findings` and `notes`."""

    def __init__(self, evidence: Evidence, inexact: frozenset[tuple[str, str]]) -> None:
        self.evidence = evidence
        self.inexact = inexact
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        # The segments that differ because of a layer inside them whose tensors have other shapes.
        self.reshaped: set[str] = set()
        self.exchanges: list[tuple[set[str], Difference]] = []
        self.solved: dict[tuple[str, str, int], tuple[Segment, Identified | None]] = {}

    def segments(self, call: PairedCall) -> None:
        """The connection before a site."""
        what = "input" if call.role == "layer" else "output"
        count = call.torch.inputs if call.role == "layer" else call.torch.outputs
        for index in range(count):
            if not self.evidence.diverges(self.evidence.metrics(call, what, index)):
                continue
            if call.before in self.reshaped:
                continue
            name = what if count == 1 else f"{what} {index}"
            segment = segment_to(self.evidence, call, index)
            differences: list[Difference] = []
            identified = None
            if segment is not None:
                identified, differences = explain_segment(segment)
                self.solved[segment.call.torch.key, what, index] = (segment, identified)
                if not differences and identified is not None and identified.flax is not None:
                    # The connection is the same; an earlier connection computed a tensor that it uses.
                    for cause in Flow(self.evidence, self.solved).named(segment, identified):
                        self._add([cause.difference], cause.where, [(name, "forward")], call.before)
                    continue
            if not any(difference.id for difference in differences):
                differences = self._exchanges(call, segment, identified) or differences
            self._add(differences, call.before, [(name, "forward")])
            if not differences:
                self._unexplained(call, what, index, call.before, name)

    def _exchanges(
        self, call: PairedCall, segment: Segment | None, identified: Identified | None
    ) -> list[Difference]:
        """Another layer called in the place of this one, or an exchange of layers before it."""
        exchange = exchanged(self.evidence, call)
        if exchange is not None:
            self.exchanges.append(exchange)
            return [exchange[1]]
        if identified is None or identified.flax is None or segment is None:
            return []
        # After an exchange of two layers, a connection uses the output of the wrong one.
        changed = {*identified.torch.sources} ^ {*identified.flax.sources}
        names = {segment.sources[index].name for index in changed}
        return [difference for layers, difference in self.exchanges if names & layers][:1]

    def unforced_segments(self, call: PairedCall) -> None:
        """The connection before an unforced call; its causes are shown at the segment that holds the call."""
        shown = self.evidence.segment_of(call)
        exchange = exchanged(self.evidence, call)
        if exchange is not None:
            self.exchanges.append(exchange)
            self._add([exchange[1]], call.name, self._divergent_tensors(shown), shown)
            self.reshaped.add(shown)
            return
        for index in range(call.torch.inputs):
            segment = segment_to(self.evidence, call, index)
            if segment is None or segment.sides[0].shape == segment.sides[1].shape:
                continue
            _, differences = explain_segment(segment)
            self._add(differences, f"before {call.name}", self._divergent_tensors(shown), shown)
            self.reshaped |= {shown} if differences else set()

    def _divergent_tensors(self, segment: str) -> list[tuple[str, Phase]]:
        """The divergent forward quantities of a segment."""
        call = next(c for c in self.evidence.calls if c.before == segment and not c.unforced)
        what = "input" if call.role == "layer" else "output"
        count = call.torch.inputs if call.role == "layer" else call.torch.outputs
        return [
            (what if count == 1 else f"{what} {index}", "forward")
            for index in range(count)
            if self.evidence.diverges(self.evidence.metrics(call, what, index))
        ]

    def layer(self, call: PairedCall) -> None:
        """The function of a layer: forward, or backward if forward is right."""
        forward = [
            i
            for i in range(call.torch.outputs)
            if self.evidence.diverges(self.evidence.metrics(call, "output", i))
        ]
        if call.unforced:
            explained = explain_layer(self.evidence, call)
            if explained is not None:
                shown = self.evidence.segment_of(call)
                self._add(list(explained.differences), call.name, self._divergent_tensors(shown), shown)
                self.reshaped |= {shown} if explained.differences else set()
        elif forward:
            explained = explain_layer(self.evidence, call)
            differences = [] if explained is None else list(explained.differences)
            self._add(differences, call.name, [] if explained is None else list(explained.quantities))
            if not differences and (explained is not None or not self._as_connection(call, forward)):
                self._unexplained(call, "output", forward[0], call.name, "output")
            elif not differences:
                return
        else:
            for name, differences in explain_layer_backward(
                self.evidence, call, lambda: solve_layer(self.evidence, call)
            ):
                if (call.name, name) in self.inexact:
                    continue
                self._add(differences, call.name, [(name, "backward")])
                if not differences:
                    self._note("unexplained", call.name, f"{name}: its cause is not identified")

    def _as_connection(self, call: PairedCall, outputs: list[int]) -> bool:
        """Whether an activation or a pooling, searched as a connection from its input, has a known cause."""
        explained = False
        for index in outputs:
            segment = inside_of(self.evidence, call, index)
            if segment is None:
                continue
            _, differences = explain_segment(segment)
            name = "output" if call.torch.outputs == 1 else f"output {index}"
            self._add(differences, call.name, [(name, "forward")])
            explained = explained or bool(differences)
        return explained

    def cotangents(self) -> None:
        """The cotangents of the tensors that connections consume."""
        flow = Flow(self.evidence, self.solved)
        for source, shown, name, what in self._consumed_tensors():
            call, index = source.call, source.index
            assert call is not None
            if not self.evidence.diverges(self.evidence.metrics(call, what, index)):
                continue
            in_torch, in_flax = (self.evidence.value(side, call, what, index) for side in ("torch", "flax"))
            if in_torch is None or in_flax is None:
                continue
            if shown in self.reshaped or (shown, name) in self.inexact:
                continue  # a reshaped segment has the cotangent of another tensor
            bound = max(self.evidence.bound(side, call, what, index) for side in ("flax", "torch"))
            causes = flow.explain(source, in_flax - in_torch, bound)
            for cause in causes:
                self._add([cause.difference], cause.where, [(name, "backward")], shown)
            if not causes and np.any(in_torch) and not np.any(in_flax):
                self._add([stopped(name)], shown, [(name, "backward")])
            elif not causes and not self._consequence(call, shown):
                self._note("unexplained", shown, f"{name}: {pattern(in_torch, in_flax, bound)}")

    def _consequence(self, call: PairedCall, shown: str) -> bool:
        """Whether a forward difference that was described before may change this cotangent."""
        first = -1 if call.role == "output" else call.position
        if any(c.unforced and c.position > first for c in self.evidence.calls):
            return True
        unknown = [
            s for s, identified in self.solved.values() if identified is None or identified.flax is None
        ]
        used = [source.call for segment in unknown for source in segment.sources]
        return call in used or any(shown in (f.place, f.layer) for f in self.findings)

    def _consumed_tensors(self) -> list[tuple[Source, str, str, str]]:
        """(tensor, segment, quantity, what) of every cotangent that comes from a connection."""
        sites = [call for call in self.evidence.calls if not call.unforced]
        tensors = []
        root, empty = sites[-1], np.zeros(0)
        for index in range(root.torch.inputs):
            name = "input cotangent" if root.torch.inputs == 1 else f"input cotangent {index}"
            source = Source("", empty, empty, root, index)
            tensors.append((source, sites[0].before, name, "input_cotangent"))
        for call, after in itertools.pairwise(sites):
            for index in range(call.torch.outputs):
                name = "output cotangent" if call.torch.outputs == 1 else f"output cotangent {index}"
                source = Source("", empty, empty, call, index)
                tensors.append((source, after.before, name, "output_cotangent"))
        return tensors

    def _add(
        self,
        differences: list[Difference],
        layer: str,
        quantities: list[tuple[str, Phase]],
        shown: str = "",
    ) -> None:
        """Findings of each difference for each (quantity, phase); a note for a difference without an id.

        `shown` is the entry that shows the quantities, if it is not `layer`.
        """
        for difference in differences:
            if difference.id is None:
                words = f"PyTorch: {difference.torch}; Flax: {difference.flax}; fix: {difference.fix}"
                self._note("convention", layer, words)
                continue
            for quantity, phase in quantities:
                self.findings.append(
                    Finding(
                        id=difference.id,
                        layer=layer,
                        phase=phase,
                        quantity=quantity,
                        torch=difference.torch,
                        flax=difference.flax,
                        fix=difference.fix,
                        mode=self.evidence.comparison.mode,
                        place=shown if shown != layer else "",
                        code=self._code(layer),
                    )
                )

    def _code(self, layer: str) -> str:
        """The line that calls the layer, or the layer after the segment."""
        for call in self.evidence.calls:
            if layer in (call.name, f"before {call.name}") or (layer == call.before and not call.unforced):
                return call.flax.called
        return ""

    def _unexplained(self, call: PairedCall, what: str, index: int, shown: str, name: str) -> None:
        in_torch, in_flax = (self.evidence.value(side, call, what, index) for side in ("torch", "flax"))
        if in_torch is None or in_flax is None:
            return
        bound = max(self.evidence.bound(side, call, what, index) for side in ("torch", "flax"))
        self._note("unexplained", shown, f"{name}: {pattern(in_torch, in_flax, bound)}")

    def _note(self, kind: str, layer: str, message: str) -> None:
        self.notes.append(Note(kind, layer, message))
