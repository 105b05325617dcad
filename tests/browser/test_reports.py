"""Reports in a browser: light and dark, on a phone, without scripts, and readable."""

import re

import numpy as np
import pytest

import xpnet
from xpnet import GradientNorms, Network, Sequential, fit, nn
from xpnet.report import read, write

RNG = np.random.default_rng(0)
IMAGES = RNG.random((120, 1, 12, 12)).astype("float32")
ROWS = RNG.normal(size=(120, 30)).astype("float32")
RUNS = {
    "images": (
        Sequential(nn.Conv2d(8, 3), nn.Relu(), nn.MaxPool2d(2), nn.Dense(10)),
        IMAGES,
        RNG.integers(0, 10, 120),
    ),
    "regression": (Sequential(nn.Dense(16), nn.Tanh(), nn.Dense(2), loss="mse"), ROWS, ROWS[:, :2]),
    "many": (Sequential(*[nn.Dense(9), nn.BatchNorm(), nn.Relu()] * 8, nn.Dense(25)), ROWS, RNG.integers(0, 25, 120)),
}
CONTRAST = """element => {
  const channels = color => color.match(/[\\d.]+/g).map(Number)
  const linear = v => v <= 10.3 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
  const ink = channels(getComputedStyle(element)[element instanceof SVGElement ? "fill" : "color"])
  let layers = []
  for (let e = element; e; e = e.parentElement) {
    const found = channels(getComputedStyle(e).backgroundColor)
    layers.push(found.length == 4 ? found : [...found, 1])
    if (layers.at(-1)[3] == 1) break
  }
  const put = (under, over) => under.map((v, i) => v + (over[i] - v) * over[3])
  const paper = layers.reverse().reduce(put, [255, 255, 255])
  const [one, other] = [light(ink), light(paper)].sort((a, b) => b - a)
  return (one + 0.05) / (other + 0.05)
}"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("reports"), {}
    for name, (stack, x, t) in RUNS.items():
        checkpoint = folder / f"a-run-with-a-long-name-{name}.safetensors"
        options = {"epochs": 6, "batch_size": 20, "validation": 0.1, "progress": False, "checkpoint": checkpoint}
        result = fit(
            Network(stack, x.shape[1:]), (x, t), (x[:50], t[:50]), "adam", callbacks=[GradientNorms()], **options
        )
        result.report(folder / f"{name}.html")
        found[name] = folder / f"{name}.html"
    write(folder / "compared.html", [read(path) for path in sorted(folder.glob("*.safetensors"))])
    return found | {"compared": folder / "compared.html"}


names = pytest.mark.parametrize("name", [*RUNS, "compared"])


@names
@pytest.mark.parametrize("width", [360, 768, 1200])
def test_the_page_does_not_scroll_sideways(page, files, name, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(files[name].as_uri())
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = (
        "all => all.filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert page.locator("main *").evaluate_all(outside) == 0


@names
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_follow_the_scheme_and_text_can_be_read(page, files, name, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(files[name].as_uri())
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(red, green, blue) < 60) if scheme == "dark" else (min(red, green, blue) > 230)
    for kind in ("p", "dd", "dt", "figcaption", "td", "th", "caption", "a", "svg text", "summary"):
        found = page.locator(kind).evaluate_all(f"all => all.map({CONTRAST})")
        assert not found or min(found) >= 4.5, kind


@names
def test_without_scripts_the_page_is_the_same(browser, files, name):
    texts = []
    for enabled in (True, False):
        context = browser.new_context(java_script_enabled=enabled)
        page = context.new_page()
        page.goto(files[name].as_uri())
        texts.append(page.locator("body").inner_text())
        assert page.locator("main svg").count() > 0
        context.close()
    assert texts[0] == texts[1]


@names
def test_a_screen_reader_finds_names_for_all_parts(page, files, name):
    page.goto(files[name].as_uri())
    assert page.get_by_role("heading", level=1).count() == 1
    for section in page.locator("section").all():
        title = section.get_by_role("heading", level=2).inner_text()
        assert page.get_by_role("region", name=title, exact=True).count() == 1
    for role in ("img", "table"):
        every = page.get_by_role(role)
        assert every.count() == page.get_by_role(role, name=re.compile(r"\S")).count()


def test_labels_in_charts_do_not_overlap_and_are_not_cut_off(page, files):
    for name, file in files.items():
        for width in (360, 1200):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(file.as_uri())
            for chart in page.locator(".charts svg").all():
                box = chart.bounding_box()
                labels = [label.bounding_box() for label in chart.locator(".label").all()]
                for label in labels:
                    assert label["x"] + label["width"] <= box["x"] + box["width"] + 1, (name, width)
                tops = sorted(label["y"] for label in labels)
                assert all(b - a >= labels[0]["height"] * 0.7 for a, b in zip(tops, tops[1:], strict=False))


def test_the_numbers_of_each_epoch_open_without_a_script(page, files):
    page.goto(files["images"].as_uri())
    table = page.get_by_role("table", name="Loss and accuracy after each epoch")
    assert not table.is_visible()
    page.get_by_text("Numbers of each epoch").click()
    assert table.is_visible()
    assert table.locator("tbody tr").count() == 7
    assert xpnet.__version__ in page.locator("#facts").inner_text()
