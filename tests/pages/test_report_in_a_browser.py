"""The report as it is seen: in Debian's Chromium, on a desktop and on a phone, in light and dark, by keyboard."""

import base64
import io
import shutil

import numpy as np
import pytest
from small_results import KINDS, text_of

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
#: Fewest pictures of a page: optima have no draws, and two wells that a chain sees one of no ladder.
PICTURES = {"anneal": 1, "bad": 2}
#: Text and what is behind it, as the browser has worked them out.
TEXTS = """
const opaque = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), colour = e.closest('svg') && e.tagName == 'text' ? style.fill : style.color;
    found.push([text, colour.match(/[\\d.]+/g).slice(0, 3).map(Number), opaque(e)]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


def shown(browser, folder, kind, width=1280, scheme="light"):
    """The report of a result in a window of this width."""
    file = folder / f"{kind}.html"
    if not file.exists():
        file.write_text(text_of(kind))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(file.as_uri())
    return browser


def luminance(colour):
    """Relative luminance, as WCAG 2 defines it."""
    c = np.array(colour) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def pixels(page):
    """Grey levels of every picture of a page, from one photograph of all of it."""
    from PIL import Image

    width, height = page.execute_script("const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = page.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("L"), int)
    for picture in page.find_elements("css selector", "svg, img"):
        box = {name: round(value) for name, value in picture.rect.items()}
        assert box["width"] > 200 and box["height"] > 100
        yield whole[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]


def ink(seen):
    """Share of what is not background."""
    return (np.abs(seen - np.median(seen)) > 40).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_on_the_console_and_every_picture_is_seen(browser, folder, kind):
    page = shown(browser, folder, kind)
    shares = [ink(seen) for seen in pixels(page)]
    assert len(shares) >= PICTURES.get(kind, 3) and all(0.005 < share < 0.8 for share in shares), shares
    assert not page.get_log("browser")


def test_an_empty_picture_would_be_seen(browser, folder):
    """The negative control: without their lines, pictures have no ink."""
    page = shown(browser, folder, "ladder")
    page.execute_script("document.querySelectorAll('svg > *').forEach(e => e.remove())")
    assert max(ink(seen) for seen in pixels(page)) == 0


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_fits_its_window(browser, folder, kind, width):
    """With everything opened; tables that are wider than a phone scroll in themselves."""
    page = shown(browser, folder, kind, width)
    page.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    for box in page.find_elements("css selector", ".scroll, figure, pre, .verdict, dl"):
        assert box.rect["x"] >= 0 and box.rect["x"] + box.rect["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_text_can_be_read(browser, folder, kind, scheme):
    """Contrast of 4.5 at least (WCAG 2, level AA), in pictures too."""
    page = shown(browser, folder, kind, scheme=scheme)
    page.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    texts = page.execute_script(TEXTS)
    assert len(texts) > (50 if kind == "anneal" else 100)
    for text, colour, behind in texts:
        assert contrast(colour, behind) >= 4.5, (text, colour, behind)
    assert (luminance(texts[0][2]) > 0.5) == (scheme == "light")


def test_the_keyboard_reaches_all_that_can_be_opened(browser, folder):
    from selenium.webdriver.common.keys import Keys

    page = shown(browser, folder, "ladder")
    wanted = set(page.find_elements("css selector", "summary, a, pre, .scroll:not(details *)"))
    body, reached = page.find_element("tag name", "body"), set()
    # How many other places a version of the browser stops at, and in which order, is its own affair.
    for _ in range(5 * len(wanted)):
        body.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        if focused != body:
            assert focused.value_of_css_property("outline-style") == "solid", focused.tag_name
        reached |= {focused} & wanted
        if reached == wanted:
            break
    assert len(wanted) > 10 and reached == wanted, {element.text for element in wanted - reached}
    summary = page.find_element("tag name", "summary")
    summary.send_keys(Keys.ENTER)
    assert page.execute_script("return document.querySelector('details').open")
