"""The steps of a diagnosis: the connection before a place, the layer itself, and the cotangents that come back."""

import itertools

import numpy as np

from parity.diagnose.backward import Flow, explain_layer_backward, stopped
from parity.diagnose.evidence import Evidence, Place
from parity.diagnose.exchange import exchanged
from parity.diagnose.identify import Difference, Identified
from parity.diagnose.layers import explain_layer, solve_layer
from parity.diagnose.pattern import pattern
from parity.diagnose.segments import Segment, Source, explain_segment, inside_of, segment_to
from parity.verdict.record import Finding, Note


class Diagnosis:
    """One diagnosis under way: call its steps in the order of execution, then read `findings` and `notes`."""

    def __init__(self, evidence: Evidence, inexact: frozenset[tuple[str, str]]) -> None:
        self.evidence = evidence
        self.inexact = inexact
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        # The segments whose difference is that of layers with other shapes inside.
        self.reshaped: set[str] = set()
        self.exchanges: list[tuple[set[str], Difference]] = []
        self.solved: dict[tuple[str, str, int], tuple[Segment, Identified | None]] = {}

    def segments(self, place: Place) -> None:
        """The connection before a site."""
        what = "input" if place.role == "layer" else "output"
        count = place.torch.inputs if place.role == "layer" else place.torch.outputs
        for index in range(count):
            if not self.evidence.diverges(self.evidence.metrics(place, what, index)):
                continue
            if place.before in self.reshaped:
                continue  # a layer with other shapes inside this segment explains it
            name = what if count == 1 else f"{what} {index}"
            segment = segment_to(self.evidence, place, index)
            differences: list[Difference] = []
            identified = None
            if segment is not None:
                identified, differences = explain_segment(segment)
                self.solved[segment.place.torch.key, what, index] = (segment, identified)
                if not differences and identified is not None and identified.flax is not None:
                    # The connection is the same: the difference came through a tensor that an earlier one computed.
                    for cause in Flow(self.evidence, self.solved).named(segment, identified):
                        self._add([cause.difference], cause.where, [(name, "forward")], place.before)
                    continue
            if not any(difference.id for difference in differences):
                differences = self._exchanges(place, segment, identified) or differences
            self._add(differences, place.before, [(name, "forward")])
            if not differences:
                self._unexplained(place, what, index, place.before, name)

    def _exchanges(
        self, place: Place, segment: Segment | None, identified: Identified | None
    ) -> list[Difference]:
        """Another layer called in this one's place, here or before."""
        found = exchanged(self.evidence, place)
        if found is not None:
            self.exchanges.append(found)
            return [found[1]]
        if identified is None or identified.flax is None or segment is None:
            return []
        # What follows two exchanged layers takes the other's output.
        changed = {*identified.torch.sources} ^ {*identified.flax.sources}
        names = {segment.sources[index].name for index in changed}
        return [cause for pair, cause in self.exchanges if names & pair][:1]

    def loose_segments(self, place: Place) -> None:
        """The connection before a layer whose shapes differ: shown at the segment that holds the layer."""
        shown = self.evidence.segment_of(place)
        found = exchanged(self.evidence, place)
        if found is not None:
            self.exchanges.append(found)
            self._add([found[1]], place.name, self._shown(shown), shown)
            self.reshaped.add(shown)
            return
        for index in range(place.torch.inputs):
            segment = segment_to(self.evidence, place, index)
            if segment is None or segment.sides[0].shape == segment.sides[1].shape:
                continue
            _, differences = explain_segment(segment)
            self._add(differences, f"before {place.name}", self._shown(shown), shown)
            self.reshaped |= {shown} if differences else set()

    def _shown(self, segment: str) -> list[tuple[str, str]]:
        """The divergent forward quantities of a segment."""
        place = next(p for p in self.evidence.places if p.before == segment and not p.loose)
        what = "input" if place.role == "layer" else "output"
        count = place.torch.inputs if place.role == "layer" else place.torch.outputs
        return [
            (what if count == 1 else f"{what} {index}", "forward")
            for index in range(count)
            if self.evidence.diverges(self.evidence.metrics(place, what, index))
        ]

    def layer(self, place: Place) -> None:
        """A layer's own function, forward, or backward where forward is right."""
        forward = [
            i
            for i in range(place.torch.outputs)
            if self.evidence.diverges(self.evidence.metrics(place, "output", i))
        ]
        if place.loose:
            explained = explain_layer(self.evidence, place)
            if explained is not None:
                shown = self.evidence.segment_of(place)
                self._add(list(explained.differences), place.name, self._shown(shown), shown)
                self.reshaped |= {shown} if explained.differences else set()
        elif forward:
            explained = explain_layer(self.evidence, place)
            differences = [] if explained is None else list(explained.differences)
            self._add(differences, place.name, [] if explained is None else list(explained.quantities))
            if not differences and (explained is not None or not self._by_glue(place, forward)):
                self._unexplained(place, "output", forward[0], place.name, "output")
            elif not differences:
                return
        else:
            for name, differences in explain_layer_backward(
                self.evidence, place, lambda: solve_layer(self.evidence, place)
            ):
                if (place.name, name) in self.inexact:
                    continue
                self._add(differences, place.name, [(name, "backward")])
                if not differences:
                    self._note("unexplained", place.name, f"{name}: its cause is not identified")

    def _by_glue(self, place: Place, outputs: list[int]) -> bool:
        """A layer without weights of a known kind (an activation, a pooling) read as connection from its input."""
        found = False
        for index in outputs:
            segment = inside_of(self.evidence, place, index)
            if segment is None:
                continue
            _, differences = explain_segment(segment)
            name = "output" if place.torch.outputs == 1 else f"output {index}"
            self._add(differences, place.name, [(name, "forward")])
            found = found or bool(differences)
        return found

    def cotangents(self) -> None:
        """The cotangents that the connection sends back."""
        flow = Flow(self.evidence, self.solved)
        for source, shown, name, what in self._sent_back():
            assert source.place is not None
            if not self.evidence.diverges(self.evidence.metrics(source.place, what, source.index)):
                continue
            ours, theirs = (
                self.evidence.value(side, source.place, what, source.index) for side in ("torch", "flax")
            )
            if ours is None or theirs is None:
                continue
            bound = self.evidence.bound("flax", source.place, what, source.index)
            bound = max(bound, self.evidence.bound("torch", source.place, what, source.index))
            if shown in self.reshaped or (shown, name) in self.inexact:
                continue  # other shapes inside: what comes back is another tensor's gradient
            causes = flow.explain(source, theirs - ours, bound)
            for cause in causes:
                self._add([cause.difference], cause.where, [(name, "backward")], shown)
            if not causes and np.any(ours) and not np.any(theirs):
                self._add([stopped(name)], shown, [(name, "backward")])
            elif not causes and not self._consequence(source.place, shown):
                words = pattern(ours, theirs, bound)
                self._note("unexplained", shown, f"{name}: {words}")

    def _consequence(self, place: Place, shown: str) -> bool:
        """Whether a forward difference that is described already may be what changes this cotangent."""
        first = -1 if place.role == "output" else place.position
        if any(p.loose and p.position > first for p in self.evidence.places):
            return True
        unknown = [
            s for s, identified in self.solved.values() if identified is None or identified.flax is None
        ]
        used = [source.place for segment in unknown for source in segment.sources]
        return place in used or any(shown in (f.place, f.layer) for f in self.findings)

    def _sent_back(self) -> list[tuple[Source, str, str, str]]:
        """(tensor, entry, quantity, what) of every cotangent that arrives from connection."""
        sites = [place for place in self.evidence.places if not place.loose]
        found = []
        root, empty = sites[-1], np.zeros(0)
        for index in range(root.torch.inputs):
            name = "input cotangent" if root.torch.inputs == 1 else f"input cotangent {index}"
            source = Source("", empty, empty, root, index)
            found.append((source, sites[0].before, name, "input_cotangent"))
        for place, after in itertools.pairwise(sites):
            for index in range(place.torch.outputs):
                name = "output cotangent" if place.torch.outputs == 1 else f"output cotangent {index}"
                source = Source("", empty, empty, place, index)
                found.append((source, after.before, name, "output_cotangent"))
        return found

    def _add(
        self,
        differences: list[Difference],
        layer: str,
        quantities: list[tuple[str, str]],
        place: str = "",
    ) -> None:
        for difference in differences:
            if difference.id is None:
                words = f"PyTorch: {difference.torch}; Flax: {difference.flax}; fix: {difference.fix}"
                self._note("convention", layer, words)
                continue
            for quantity, of in quantities:
                self.findings.append(
                    Finding(
                        id=difference.id,
                        layer=layer,
                        phase="backward" if of == "backward" else "forward",
                        quantity=quantity,
                        torch=difference.torch,
                        flax=difference.flax,
                        fix=difference.fix,
                        mode=self.evidence.comparison.mode,
                        place=place if place != layer else "",
                        code=self._code(layer),
                    )
                )

    def _code(self, layer: str) -> str:
        """The line that calls a layer, or the one after a segment."""
        for place in self.evidence.places:
            if layer in (place.name, f"before {place.name}") or (layer == place.before and not place.loose):
                return place.flax.called
        return ""

    def _unexplained(self, place: Place, what: str, index: int, shown: str, name: str) -> None:
        ours, theirs = (self.evidence.value(side, place, what, index) for side in ("torch", "flax"))
        if ours is None or theirs is None:
            return
        bound = max(self.evidence.bound(side, place, what, index) for side in ("torch", "flax"))
        self._note("unexplained", shown, f"{name}: {pattern(ours, theirs, bound)}")

    def _note(self, kind: str, layer: str, message: str) -> None:
        self.notes.append(Note(kind, layer, message))
