"""What is known of mutants that no case catches, each with the reason.

EQUIVALENT mutants compute the same numbers for every valid argument: nothing could catch them. UNSEEN mutants are
defects that a comparison with PyTorch cannot show; the reason says what else does. Both are named by file, function,
changed line and change, so that an edit elsewhere in the file leaves them named.
"""

from typing import NamedTuple

from parity.mutation.find import Mutant


class Key(NamedTuple):
    """A mutant, without its line and column; `text` is a part of the changed line, "" for any line."""

    file: str
    function: str
    text: str
    what: str

    def names(self, mutant: Mutant) -> bool:
        """Whether a mutant is meant."""
        same = (self.file, self.function, self.what) == (mutant.file, mutant.function, mutant.what)
        return same and self.text in mutant.text


def equivalent_because(mutant: Mutant) -> str:
    """Why a mutant is no defect; "" if nothing says so."""
    return _reason(EQUIVALENT, mutant)


def unseen_because(mutant: Mutant) -> str:
    """Why no case can show a defect; "" if nothing says so."""
    return _reason(UNSEEN, mutant)


def _reason(table: dict[Key, str], mutant: Mutant) -> str:
    return next((reason for key, reason in table.items() if key.names(mutant)), "")


EQUIVALENT: dict[Key, str] = {}
UNSEEN: dict[Key, str] = {}
