"""The playground in a headless Chromium: its arithmetic against NumPy's, and what a person does there."""

import base64
import re
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

for module in ("sphinx", "myst_nb", "ndonnx", "PIL"):
    pytest.importorskip(module)
from sphinx.application import Sphinx

from xpnet import SGD, TwoLayerNet, load_mnist
from xpnet.datasets.images import read_digit

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
from playground import build

NAMES = ("W1", "b1", "W2", "b2")
LAYERS = ("input", "affine1", "activated", "scores", "softmax")
PICTURE = "(name) => document.getElementById(`pg-${name}`).toDataURL('image/png')"
# Draws the initial parameters and the mini-batches of the page's run again.
BEGINNING = """async () => {
    const { Network, Batches } = await import("./playground/network.js");
    const { choices, losses } = playground.run;
    const batches = new Batches(playground.digits.train.labels.length, choices.seed + 1);
    const size = Number(document.getElementById("pg-batch").value);
    const values = await (await Network.make(playground.runtime, choices)).values();
    const plain = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, a]) => [name, [...a]]));
    return {
        first: plain(values),
        last: plain(await playground.run.net.values()),
        batches: losses.map(() => [...batches.next(size)]),
        losses,
    };
}"""


def build_site(folder, doctrees):
    """The site with the page of the playground only, in the theme of the site."""
    settings = {
        "extensions": ["myst_nb", "playground.build"],
        "html_theme": "furo",
        "include_patterns": ["playground.md"],
        "root_doc": "playground",
    }
    app = Sphinx(DOCS, None, folder, doctrees, "html", settings, status=None, warning=None, warningiserror=True)
    app.build()
    return (folder / "playground.html").read_text(encoding="utf-8")


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/favicon.ico":  # the site has none, and Chromium asks for it
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(request, tmp_path_factory):
    """The folder of the built site."""
    if built := request.config.getoption("--site", None):
        return Path(built)
    doctrees, folder = (tmp_path_factory.mktemp(name) for name in ("doctrees", "site"))
    try:
        build.runtime(doctrees)
    except build.Missing as reason:
        pytest.skip(f"the playground is not built: {reason}")
    build_site(folder, doctrees)
    return folder


@pytest.fixture(scope="session")
def url(site):
    """The address of the playground, served from a plain folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/playground.html"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def opened(page, url):
    return ready(page, url)


def ready(page, url):
    page.goto(url)
    page.wait_for_function("!document.getElementById('pg-all').inert")
    return page


def train(page, updates):
    """Press Start, and Pause after at least this number of updates."""
    page.click("#pg-start")
    page.wait_for_function(f"playground.run.losses.length >= {updates}", timeout=120_000)
    page.click("#pg-start")
    page.wait_for_function("playground.gradients && !playground.turn")


def check_against_numpy(page, activation, rate):
    """The losses and the parameters after the page's updates, with the same mini-batches in NumPy."""
    run = page.evaluate(BEGINNING)
    net = TwoLayerNet(784, len(run["first"]["b1"]), 10, activation=activation)
    first, last = ({n: np.asarray(run[key][n], "float32") for n in NAMES} for key in ("first", "last"))
    params = {name: first[name].reshape(net.params[name].shape) for name in NAMES}
    (x, t), _ = load_mnist()
    optimizer, losses = SGD(rate), []
    for batch in run["batches"]:
        loss, gradients, _ = net.stack.loss_and_gradient(params, x[batch], t[batch])
        params, _ = optimizer.update(params, gradients, {})
        losses.append(float(loss))
    np.testing.assert_allclose(run["losses"], losses, atol=1e-4)
    for name in NAMES:
        np.testing.assert_allclose(last[name].reshape(params[name].shape), params[name], atol=1e-4)
    return losses


@pytest.mark.parametrize(
    ("activation", "hidden", "batch", "rate"),
    [("relu", 50, 100, 0.1), ("sigmoid", 10, 30, 1), ("tanh", 25, 10, 0.03)],
)
def test_300_updates_are_those_of_numpy(opened, activation, hidden, batch, rate):
    for name, value in (("batch", batch), ("rate", rate), ("hidden", hidden), ("activation", activation)):
        opened.select_option(f"#pg-{name}", str(value))
    train(opened, 300)
    losses = check_against_numpy(opened, activation, rate)
    assert len(losses) >= 300
    assert np.mean(losses[-30:]) < 0.7 * np.mean(losses[:30])
    assert opened.evaluate("playground.run.choices") == {
        "activation": activation,
        "hidden": hidden,
        "seed": 0,
        "device": "wasm",
    }
    assert opened.inner_text("#pg-running") == "WebAssembly"
    assert re.fullmatch(r"\d+ updates/s", opened.inner_text("#pg-speed"))
    assert opened.inner_text("#pg-updates") == f"{len(losses):,}"


@pytest.mark.parametrize("script", ["", "delete WebAssembly.Suspending"], ids=["jspi", "asyncify"])
def test_webgpu_computes_the_same(browser_with_webgpu, url, script):
    page = browser_with_webgpu.new_page()
    page.add_init_script(script)
    ready(page, url)
    if not page.evaluate("playground.runtime.gpu"):
        pytest.skip("this Chromium has no WebGPU")
    assert page.inner_text("#pg-running") == "WebGPU"
    train(page, 10)
    assert len(check_against_numpy(page, "relu", 0.1)) >= 10
    code = "asyncify" if script else "jspi"
    assert page.evaluate(
        f"performance.getEntriesByType('resource').some(({{ name }}) => name.endsWith('{code}.bin'))"
    )


def test_a_drawn_seven_is_read(opened, tmp_path):
    train(opened, 1500)
    assert float(opened.inner_text("#pg-accuracy").rstrip("%")) > 88
    opened.click("#pg-clear")
    assert opened.inner_text("#pg-answer") == "Nothing is drawn yet."
    before = [opened.evaluate(PICTURE, name) for name in LAYERS]
    draw(opened, [(70, 60), (210, 60), (120, 230)])
    opened.wait_for_function("document.getElementById('pg-answer').textContent === 'The network reads 7.'")
    texts = opened.locator("#pg-probabilities li > :last-child").all_inner_texts()
    shown = [float(text.rstrip("%")) for text in texts]
    digit = np.asarray(opened.evaluate("[...playground.digit]"))
    np.testing.assert_allclose(shown, 100 * network_of(opened).predict_proba(digit), atol=0.06)
    assert np.argmax(shown) == 7
    assert all(opened.evaluate(PICTURE, name) != old for name, old in zip(LAYERS, before, strict=True))
    (tmp_path / "seven.png").write_bytes(base64.b64decode(opened.evaluate(PICTURE, "drawing").partition(",")[2]))
    np.testing.assert_allclose(digit, read_digit(tmp_path / "seven.png", (784,)), atol=2 / 255)


def network_of(page):
    """The network of the page, in NumPy."""
    found = page.evaluate("""async () => Object.fromEntries(
        Object.entries(await playground.run.net.values()).map(([name, values]) => [name, [...values]])
    )""")
    net = TwoLayerNet(784, len(found["b1"]), 10, like=np.zeros(0))
    net.params = {name: np.asarray(found[name]).reshape(p.shape) for name, p in net.params.items()}
    return net


def draw(page, corners):
    box = page.locator("#pg-drawing").bounding_box()
    corners = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in corners]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def test_the_gradients_are_those_of_numpy(opened):
    train(opened, 100)
    opened.evaluate("delete playground.gradients")
    opened.select_option("#pg-label", "3")
    opened.wait_for_function("playground.gradients")
    net = network_of(opened)
    exact, slopes = opened.evaluate("[[...playground.gradients.exact], [...playground.gradients.slopes]]")
    layers, last = net.layers, net.last_layer
    y = np.asarray(opened.evaluate("[...playground.digit]"))[None]
    for layer in layers.values():
        y = layer.forward(y)
    last.forward(y, np.asarray([3]))
    (expected,), _ = net.stack.backward(layers, last.backward())
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(exact, expected, atol=1e-12)
    np.testing.assert_allclose(slopes, expected, atol=1e-7)
    assert re.search(
        r"The largest difference between the two images is \d\.\de-\d+\.", opened.inner_text("#pg-difference")
    )


def test_everything_can_be_done_by_keyboard(opened):
    names = opened.evaluate(
        "[...document.querySelectorAll('#playground :is(select, input, button)')].map((control) => control.id)"
    )
    assert len(names) == 12
    opened.focus(f"#{names[0]}")
    reached = []
    for _ in names:
        reached.append(opened.evaluate("document.activeElement.id"))
        opened.keyboard.press("Tab")
    assert reached == names
    opened.focus("#pg-hidden")
    opened.keyboard.press("ArrowDown")
    opened.wait_for_function("playground.run.choices.hidden === 100")
    opened.focus("#pg-start")
    opened.keyboard.press("Enter")
    opened.wait_for_function("playground.run.losses.length > 5")
    opened.keyboard.press("Space")
    assert opened.inner_text("#pg-start") == "Start"
    opened.focus("#pg-sample")
    opened.keyboard.press("Enter")
    opened.wait_for_function("document.getElementById('pg-answer').textContent.includes('Label: 2')")


def test_one_update_and_a_new_start(opened):
    opened.click("#pg-step")
    opened.wait_for_function("document.getElementById('pg-updates').textContent === '1'")
    before = opened.evaluate("playground.run.losses")
    opened.click("#pg-reset")
    opened.wait_for_function("document.getElementById('pg-updates').textContent === '0'")
    opened.click("#pg-step")
    opened.wait_for_function("document.getElementById('pg-updates').textContent === '1'")
    assert opened.evaluate("playground.run.losses") == before


def test_a_learning_rate_that_is_too_large_is_told(opened):
    opened.evaluate("document.getElementById('pg-rate').append(new Option('1e30', '1e30', true, true))")
    opened.click("#pg-start")
    opened.wait_for_selector("#pg-notice:has-text('the learning rate is too large')")
    assert opened.inner_text("#pg-start") == "Start"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_need_not_scroll_sideways(page, url, scheme):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    ready(page, url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for box in page.locator("#playground :is(select, input, button, canvas, svg)").all():
        place = box.bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= 360


def test_a_finger_draws_and_does_not_scroll(browser, url):
    context = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    page = ready(context.new_page(), url)
    page.locator("#pg-drawing").scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), page.locator("#pg-drawing").bounding_box()
    fingers = context.new_cdp_session(page)
    for kind, step in (("touchStart", 0), *(("touchMove", step) for step in range(1, 9))):
        point = {"x": box["x"] + 100, "y": box["y"] + 40 + 20 * step}
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    drawn = np.asarray(page.evaluate("[...playground.digit]")).reshape(28, 28)
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    assert (len(rows), len(columns)) == (20, 2)
    assert page.evaluate("scrollY") == pytest.approx(before, abs=2)
    context.close()


def test_a_page_opened_from_a_file_says_that_it_needs_http(browser, site):
    page = browser.new_page()
    page.goto((site / "playground.html").as_uri())
    assert "open this page over http" in page.inner_text("#pg-notice")
    page.close()


def test_without_npm_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    text = build_site(tmp_path / "site", tmp_path / "doctrees")
    assert "without the playground: npm is not installed." in text
    assert not (tmp_path / "site" / "playground").exists()


def test_another_package_is_refused(tmp_path):
    (tmp_path / f"{build.RUNTIME.replace('@', '-')}.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="its SHA-512 is another one"):
        build.runtime(tmp_path)
