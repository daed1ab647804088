"""The page: well formed, self-contained, complete, and its pictures tell the truth."""

import base64
import dataclasses
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from parity.report.html import depth, heat, page, write
from parity.report.html.markup import element
from parity.report.tensors import Pair
from parity.verdict.record import Note

VOID = {"meta", "img", "input", "br"}


class Strict(HTMLParser):
    """Fails on an element that is not closed in order; keeps every attribute."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *item) for item in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def pair(shape=(2, 4, 6, 6), change=None):
    torch = np.array(np.random.default_rng(0).standard_normal(shape))
    flax = np.array(torch + 1e-16)
    if change is not None:
        flax[change] += 0.5
    return Pair("train", "layer1.0.conv2", "output", torch, flax)


def test_the_page_is_well_formed_and_needs_nothing_but_itself(make_report):
    text = page(make_report(2, "layer1.0.conv2"), [pair(change=(..., -1))])
    parser = parsed(text)
    for _, name, value in parser.attributes:
        if name in ("src", "href", "action", "poster", "data"):
            assert value.startswith(("#", "data:image/png;base64,")), value
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    assert len(parser.ids) == len(set(parser.ids))


def test_every_entry_has_its_row_and_every_dot_leads_to_one(make_report):
    report = make_report(2, "layer1.0.conv2")
    parser = parsed(page(report))
    rows = {f"entry-{number}" for number in range(len(report.layers))}
    assert rows <= set(parser.ids)
    targets = {value[1:] for tag, name, value in parser.attributes if (tag, name) == ("a", "href")}
    assert targets == rows


@pytest.mark.parametrize("verdict", ["equivalent", "inconclusive"])
def test_every_verdict_has_a_page_that_says_it(make_report, verdict):
    text = page(make_report(1, verdict=verdict))
    parsed(text)
    assert f'class="verdict {verdict}"' in text
    assert "First divergence" not in text
    assert ("give the head random weights" in text) == (verdict == "inconclusive")


def test_names_are_escaped(make_report):
    report = make_report(1, "fc")
    evil = "<script>alert('x')</script>"
    cause = dataclasses.replace(report.causes[0], layer=evil, torch=evil)
    layers = tuple(
        dataclasses.replace(j, entry=dataclasses.replace(j.entry, name=f"{evil}{j.entry.name}", kind=evil))
        for j in report.layers
    )
    text = page(dataclasses.replace(report, causes=(cause,), layers=layers))
    parsed(text)
    assert text.count("<script>") == 1, "only the page's own"


def test_markup_escapes_texts_and_attributes_but_not_elements():
    inner = element("b", "1 < 2")
    assert element("p", inner, [None, "a & b"], title='"', hidden=True, class_="x", id=None) == (
        '<p title="&quot;" hidden class="x"><b>1 &lt; 2</b>a &amp; b</p>'
    )


def dots(figure):
    return [
        (float(cy), status)
        for cy, status in re.findall(r'<circle cx="[^"]*" cy="([^"]*)" r="[^"]*" class="dot ([^"]*)"', figure)
    ]


def test_the_plot_lifts_the_divergence_above_the_allowed_line(make_report):
    forward, backward = depth.plots(make_report(2, "layer1.0.conv2"), "train")
    for figure in (forward, backward):
        (points,) = re.findall(r'<polyline points="([^"]*)" class="allowed"', figure)
        line = min(float(point.split(",")[1]) for point in points.split())
        # Pixels are counted from the top.
        assert [status for y, status in dots(figure) if y < line] == ["divergent"]
    assert "first divergence: layer1.0.conv2" in forward and "first divergence" not in backward


def test_gaps_of_zero_lie_in_their_own_band(make_report):
    report = make_report(2)
    exact = dataclasses.replace(report.layers[1], entry=report.layers[1].entry)
    quantities = [dataclasses.replace(q, quantity=zero(q.quantity)) for q in exact.quantities]
    layers = (dataclasses.replace(exact, quantities=tuple(quantities)), *report.layers[2:])
    forward, *_ = depth.plots(dataclasses.replace(report, layers=layers), "train")
    ground = depth.HEIGHT - depth.BOTTOM - depth.ZERO_BAND
    heights = [y for y, _ in dots(forward)]
    assert heights[0] == ground + depth.ZERO_BAND / 2 and max(heights[1:]) <= ground


def zero(quantity):
    introduced = dataclasses.replace(quantity.introduced, gap_max=0.0, gap_max_relative=0.0)
    return dataclasses.replace(quantity, introduced=introduced)


def test_a_state_that_is_exact_everywhere_needs_no_plot(make_report):
    assert len(depth.plots(make_report(2), "train")) == 2


def test_no_state_in_eval_mode_means_no_plot_of_it(make_report):
    assert len(depth.plots(make_report(2), "eval")) == 2


def brightness(picture):
    cells = heat.shrunk(picture.cells, picture.kind)
    return heat.coloured(cells, picture.kind, picture.largest)[0].astype(int).sum(axis=-1)


def test_a_wrong_border_is_bright_at_the_border_and_a_wrong_channel_in_its_column():
    border = {picture.title: picture for picture in heat.pictures(pair(change=(..., -1)))}
    bright = brightness(border["gap by position"])
    assert bright[:, -1].min() > bright[:, :-1].max()
    channel = {picture.title: picture for picture in heat.pictures(pair(change=(slice(None), 2)))}
    bright = brightness(channel["gap by channel"])
    assert set(bright.argmax(axis=1)) == {2}


@pytest.mark.parametrize(
    ("shape", "count"),
    [((5,), 3), ((3, 7), 3), ((2, 5, 3), 2), ((2, 3, 4, 5), 5), ((1, 2, 2, 3, 4), 5), ((), 3), ((0, 3), 0)],
)
def test_tensors_of_any_rank_have_pictures(make_report, shape, count):
    found = heat.pictures(pair(shape))
    assert len(found) == count
    parsed(heat.section(make_report(1), [pair(shape)]))


def test_pictures_are_png_of_limited_size():
    cells = np.zeros((3, 1000))
    cells[1, 637] = 1.0
    small = heat.shrunk(cells, "gap")
    assert small.shape == (3, heat.MOST_CELLS) and small.max() == 1.0, "the largest gap survives shrinking"
    assert heat.shrunk(np.ones((200, 5)), "value").shape == (heat.MOST_CELLS, 5)
    np.testing.assert_allclose(heat.shrunk(np.ones((200, 5)), "value"), 1.0)
    data = heat.png(heat.coloured(small, "gap", 1.0)[0])
    image = Image.open(io.BytesIO(base64.b64decode(data.removeprefix("data:image/png;base64,"))))
    assert image.size == (heat.MOST_CELLS, 3)


def test_infinite_gaps_are_drawn(make_report):
    broken = pair()
    broken.flax[0, 0, 0, 0] = np.inf
    parsed(heat.section(make_report(1), [broken]))


def test_the_first_divergence_comes_first_and_rounding_beside_a_gap_is_left_out(make_report):
    report = make_report(1, "layer1.0.conv2")
    torch = np.ones((2, 3))
    others = [
        Pair("train", layer, "output", torch, torch + gap) for layer, gap in (("wide", 0.9), ("round", 1e-15))
    ]
    named = pair(change=0)
    cotangent = dataclasses.replace(named, quantity="output cotangent", flax=named.flax + 1.0)
    shown = heat.section(report, [cotangent, *others, named])
    names = re.findall(r'<h3><span class="name">([^<]*)</span> · ([a-z ]*) ', shown)
    assert names == [("layer1.0.conv2", "output"), ("layer1.0.conv2", "output cotangent"), ("wide", "output")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to run the page's script")
def test_a_browser_sorts_filters_and_opens(tmp_path, make_report):
    path = write(make_report(2, "layer1.0.conv2"), tmp_path / "page.html")
    driver = """<script>
const headings = [...document.querySelectorAll('#layers > thead th')];
const margin = headings.find((h) => h.textContent === 'safety margin').querySelector('button');
margin.click(); margin.click();
words.value = 'CONV'; words.dispatchEvent(new Event('input'));
document.querySelector('#layers tbody:not([hidden]) button.name').click();
</script></body>"""
    path.write_text(path.read_text().replace("</body>", driver))
    command = (
        "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    done = subprocess.run(
        [*command.split(), f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    rows = re.findall(
        r"<tbody ([^>]*)>(.*?)</tbody></table></div></td></tr></tbody>|<tbody ([^>]*)>", done.stdout
    )
    assert rows
    first = re.search(r'<table id="layers">.*?<tbody ([^>]*)>(.*?)</tr>', done.stdout, re.DOTALL)
    assert "divergent" in first.group(1) and 'aria-expanded="true"' in first.group(2)
    hidden = re.findall(r'<tbody id="entry-\d+"[^>]*hidden', done.stdout)
    shown = re.search(r"(\d+) of (\d+) rows", done.stdout)
    assert int(shown.group(1)) == int(shown.group(2)) - len(hidden) < int(shown.group(2))


def test_the_pattern_of_an_unexplained_difference_stands_beside_its_picture(make_report):
    report = dataclasses.replace(
        make_report(2, "layer1.0.conv2"),
        notes=(
            Note("unexplained", "layer1.0.conv2", "output: at the right border only"),
            Note("unexplained", "bn1 -> layer1.0.conv2", "input: Flax = 2 x PyTorch"),
            Note("unexplained", "elsewhere", "output: every element differs"),
        ),
    )
    shown = str(heat.section(report, [pair(change=(..., -1))]))
    assert "Unexplained. output: at the right border only." in shown
    assert "Unexplained. input: Flax = 2 x PyTorch." in shown
    assert "every element" not in shown
