"""Pages in a headless Chromium: the fixture `browser`, for tests that open a page and look at it."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

# Without these, Chromium looks for its updates; as root it refuses to start in its sandbox.
OPTIONS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
if hasattr(os, "geteuid") and os.geteuid() == 0:
    OPTIONS.append("--no-sandbox")


def pytest_addoption(parser):
    parser.addoption("--site", help="folder of a site with the playground (default: build one)")


@pytest.fixture(scope="session")
def browser():
    """Chromium, as Playwright's `Browser`: ``browser.new_page(color_scheme="dark", viewport=...)``."""
    with sync_playwright() as playwright:
        yield launch(playwright.chromium)


@pytest.fixture
def browser_with_webgpu(browser):
    """Chromium with a WebGPU that runs on the CPU."""
    options = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
    with launch(browser.browser_type, *options) as other:
        yield other


def launch(chromium, *options):
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return chromium.launch(executable_path=path, args=[*OPTIONS, *options])


@pytest.fixture
def page(browser):
    """A page that may load nothing from a network and must not log an error."""
    context = browser.new_context()
    context.route("**/*", lambda route: route.continue_() if is_local(route.request.url) else route.abort())
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert not errors


def is_local(url):
    return url.startswith(("file:", "data:", "blob:", "http://localhost:", "http://127.0.0.1:"))
