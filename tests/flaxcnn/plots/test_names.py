"""Names of classes in any script are drawn with a font that has them, or give way to a number: no box, no warning."""

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from flaxcnn.plots.confusion import draw_confusion_matrix
from flaxcnn.plots.names import labels
from flaxcnn.plots.wrong import draw_most_confidently_wrong

FAMILY = list(matplotlib.rcParams["font.family"])
# In the fonts that Matplotlib brings along: the first is in its DejaVu Sans, the second only in another family.
GREEK, SPIRANT = "ΑΒΓ", "\u1d81"
NOWHERE = "\ue000"  # of private use: no font says what it is


def test_names_that_the_usual_font_has_stay_as_they_are():
    assert labels(["cat", "Käse", GREEK], 18) == (["cat", "Käse", GREEK], FAMILY)
    assert labels(["a very long name of a class"], 10).texts == ["a very lo…"]
    assert labels(["2 $ or 3 $"], 18).texts == [r"2 \$ or 3 \$"]


def test_another_font_is_found_and_has_the_character():
    texts, family = labels(["cat", f"d{SPIRANT}"], 18)
    assert texts == ["cat", f"d{SPIRANT}"]
    (found,) = family[len(FAMILY) :]
    path = font_manager.findfont(font_manager.FontProperties(family=[found]))
    assert FT2Font(path).get_char_index(ord(SPIRANT)) != 0


@pytest.mark.parametrize("name", [NOWHERE, "pl\udcffum", "", "\u200b", "\U000e0fff"])
def test_a_name_that_no_font_has_becomes_the_number_of_its_class(name):
    assert labels(["cat", name], 18) == (["cat", "class 1"], FAMILY)


def test_a_name_is_on_one_line():
    assert labels(["a\nb\tc", "e\u0301", "x\u202ey"], 18).texts == ["a b c", "é", "xy"]


@pytest.mark.parametrize("classes", [4, 25])
def test_pictures_of_such_names_are_drawn_without_a_warning(classes):
    """Warnings are errors here, and up to version 3.10 Matplotlib warns of every glyph that it draws as a box."""
    names = [
        f"リンゴ {k}" if k % 3 == 0 else f"{SPIRANT}{k}" if k % 3 == 1 else f"\udcff{k}"
        for k in range(classes)
    ]
    matrix = np.full((classes, classes), 2)
    matrices = draw_confusion_matrix(matrix, names)
    matrices.canvas.draw()
    found = labels(names, 18).family
    assert len(found) > len(FAMILY)
    drawn = [text for axes in matrices.axes for text in axes.findobj(Text) if SPIRANT in text.get_text()]
    assert drawn and all(text.get_fontfamily() == found for text in drawn)
    images = np.zeros((classes, 4, 4, 1), np.uint8)
    order = np.arange(classes)
    chances = np.full((classes, classes), 1 / classes)
    figure = draw_most_confidently_wrong(images, order, (order + 1) % classes, chances, names)
    figure.canvas.draw()
    drawn = [text for axes in figure.axes for text in axes.findobj(Text) if SPIRANT in text.get_text()]
    assert drawn and all(text.get_fontfamily() == found for text in drawn)
    assert figure.axes[1].get_xlabel().startswith(f"is {SPIRANT}1 (")
    assert figure.axes[2].get_xlabel().startswith("is class 2 (")
