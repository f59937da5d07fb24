"""The page of the runs that ship, in a real browser without a window.

It takes Debian's chromium and chromium-driver, and selenium. ``D2EVAL_SCREENSHOTS=DIR`` keeps
pictures of it, to be looked at.
"""

import base64
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from d2eval.cli import main
from d2eval.runs.measured import SHIPPED_RUNS

pytestmark = pytest.mark.slow
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
select_of = pytest.importorskip("selenium.webdriver.support.ui").Select
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MANIFESTS = [
    json.loads(path.read_text()) for path in (SHIPPED_RUNS / "hpatches").glob("*/manifest.json")
]
HOSTILE = "<script>window.caught = 1</script><img src=x onerror='window.caught = 1'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", "--runs", "shipped", "--name", HOSTILE, "--output", str(path)]) == 0
    assert path.stat().st_size < 3_000_000
    return path


@pytest.fixture(scope="module")
def chromium():
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


class Page:
    """The open page, as a user has it."""

    def __init__(self, driver):
        self.driver = driver

    def js(self, text, *given):
        return self.driver.execute_script(text, *given)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def click(self, selector, text):
        own = next(node for node in self.all(selector) if node.text.startswith(text))
        self.js("arguments[0].scrollIntoView({block: 'center'})", own)
        own.click()

    def choose(self, select, title):
        select_of(self.all(f"#{select}")[0]).select_by_visible_text(title)

    def column(self, title, table="results"):
        return self.js(
            "const i = [...document.querySelectorAll(`#${arguments[1]} thead th`)]"
            ".findIndex(h => h.textContent === arguments[0]);"
            "return [...document.querySelectorAll(`#${arguments[1]} tbody tr`)]"
            ".map(r => r.children[i].textContent)",
            title, table,
        )  # fmt: skip

    def picture(self, name, width):
        folder = os.environ.get("D2EVAL_SCREENSHOTS")
        if folder:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
            shot = {"captureBeyondViewport": True, "clip": clip}
            data = self.driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
            Path(folder, f"{name}.png").write_bytes(base64.b64decode(data))


@pytest.fixture
def opened(chromium, page):
    """The page, newly opened; afterwards nothing may have gone wrong."""

    def show(width=1280, dark=False, path=page):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        chromium.get(path.as_uri())
        return Page(chromium)

    yield show
    assert [line for line in chromium.get_log("browser") if line["level"] != "INFO"] == []
    assert chromium.execute_script("return window.caught") is None
    assert chromium.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_sorting_and_filtering(opened):
    page = opened()
    page.choose("subset", "Viewpoint")
    measured = [float(text) for text in page.column("Measured") if text]
    assert measured == sorted(measured, reverse=True) and len(measured) == len(MANIFESTS)
    page.click("#results th button", "Measured")
    assert [float(text) for text in page.column("Measured") if text] == measured[::-1]
    assert page.js("return document.activeElement.textContent") == "Measured"
    assert page.all("#results th[aria-sort='ascending']")[0].text.startswith("Measured")
    page.all("#filter")[0].send_keys("trained")
    assert sorted(page.column("Run")) == ["d2_ms_trained", "d2_ss_trained"]
    page.all("#filter")[0].clear()
    page.all("#filter")[0].send_keys("net")
    assert "keynet_hardtfeat" in page.column("Run")
    page.click("#badges label", "partial")
    assert "keynet_hardtfeat" not in page.column("Run") and "LF-Net" in page.column("Run")


def test_hovering_and_arrow_keys_tell_values(opened):
    page = opened()
    chart = page.all("#curves svg[role]")[0]
    page.js("arguments[0].scrollIntoView({block: 'center'})", chart)
    marker = page.all("#curves svg[role] path.solid")[0]
    webdriver.ActionChains(page.driver).move_to_element(marker).perform()
    tip = page.all("#tip")[0]
    assert tip.rect["x"] >= 0 and "MMA@" in tip.text and "95 %" in tip.text
    said = tip.text
    chart.send_keys(webdriver.Keys.ARROW_RIGHT)
    assert tip.text != said and tip.get_attribute("role") == "status"
    chart.send_keys(webdriver.Keys.ESCAPE)
    assert tip.rect["x"] < -100
    lines = len(page.all("#curves svg[role] path.line"))
    page.click("#curves .legend label", "d2_ms_trained")
    assert len(page.all("#curves svg[role] path.line")) == lines - 1
    page.click("#curves button", "All published")
    assert len(page.all("#curves svg[role] path.line")) > lines


def test_two_runs_then_a_sequence_then_a_pair(opened):
    page = opened()
    page.choose("first", "d2_ss_trained")
    page.choose("second", "d2_ms_trained")
    assert "No difference shown" in page.all("#verdict")[0].text
    page.choose("second", "d2_ms")
    assert "d2_ss_trained is better" in page.all("#verdict")[0].text
    assert len(page.all("#scatter path.solid")) == 35
    page.choose("own", "d2_ms")
    means = [float(text) for text in page.column("Mean of pairs", "items")]
    assert means == sorted(means)
    page.click("#items th button", "v_bird")
    assert page.all("#items [aria-expanded='true']")[0].text == "v_bird"
    page.click("#items td button", "v_bird/1-6")
    assert page.js("return document.activeElement.id") == "item"
    assert "Pair v_bird/1-6" in page.all("#item")[0].text
    assert "d2eval view hpatches --run d2_ms --pair v_bird/1-6" in page.all("#item")[0].text
    assert len(page.all("#item tbody tr")) == len(MANIFESTS)


def test_what_a_newcomer_asks_of_the_page_that_ships(opened):
    """Which method is best at 3 px on viewpoint changes; the worst pair of d2_ms, and why."""
    page = opened(path=SHIPPED_RUNS.parent / "report.html")
    page.choose("subset", "Viewpoint")
    means = {}
    for path in (SHIPPED_RUNS / "hpatches").glob("*/pairs.csv"):
        rows = pd.read_csv(path)
        means[path.parent.name] = rows[rows["split"] == "v"]["mma_3px"].mean()
    shown = dict(zip(page.column("Run"), page.column("Measured"), strict=True))
    measured = {label: float(text) for label, text in shown.items() if text}
    assert page.column("Run")[0] == max(measured, key=means.get)
    assert page.all("#results td.best")[0].text == f"{max(measured.values()):.4f}"
    page.choose("subset", "Overall")
    page.choose("own", "d2_ms")
    pairs = pd.read_csv(SHIPPED_RUNS / "hpatches/d2_ms/pairs.csv")
    worst = pairs.sort_values("mma_3px").iloc[0]
    name = f"{worst['sequence']}/1-{worst['image']}"
    page.click("#items td button", name)
    picture = page.all("#item img")[0]
    assert picture.get_attribute("alt") == f"What d2_ms found of {name}"
    assert page.js("return arguments[0].decode().then(() => arguments[0].naturalWidth)", picture)
    page.choose("own", "d2_ms_trained")  # has one, or says why not
    first = page.all("#item img")[0].get_attribute("alt")
    why = "picture of d2_ms_trained: features of" in page.all("#item")[0].text
    assert first.startswith("What d2_ms_trained found") != why


def test_costs_are_of_one_machine(opened):
    page = opened()
    (machine,) = {name for manifest in MANIFESTS for name in manifest["image_costs"]["machines"]}
    assert len(page.all("#cost path.solid")) == len(MANIFESTS)
    assert machine in page.all("#cost")[0].text
    page.choose("costs", "descriptors [MB an image]")
    assert "The same on every machine" in page.all("#cost")[0].text
    page.click("#benchmarks button", "inloc")
    assert "seconds" in page.all("#costs")[0].text


def test_costs_of_runs_of_other_data_have_a_drawing_of_their_own(tmp_path, opened):
    runs = tmp_path / "runs"
    for label in ("orb", "rootsift", "xfeat"):
        shutil.copytree(SHIPPED_RUNS / "hpatches" / label, runs / "hpatches" / label)
    path = runs / "hpatches/orb/manifest.json"
    content = json.loads(path.read_text())
    content["dataset"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(content))
    output = tmp_path / "report.html"
    assert main(["report", "--runs", str(runs), "--output", str(output)]) == 0
    page = opened(path=output)
    assert len(page.all("#cost path.solid")) == 2
    assert "1 run of other data not drawn here" in page.all("#cost")[0].text
    chosen = select_of(page.all("#cost-data")[0])
    assert [own.text[-4:] for own in chosen.options] == [" (2)", " (1)"]
    chosen.select_by_index(1)
    assert len(page.all("#cost path.solid")) == 1


def test_where_a_number_is_from(opened):
    page = opened()
    page.click("#benchmarks button", "aachen")
    assert "too few inliers" in page.all("#failures")[0].text
    page.click("#results th button.link", "d2_ms")
    dialog = page.all("#details")[0]
    assert dialog.is_displayed() and "d2eval aachen --data" in dialog.text
    assert '"protocol_sha256"' in dialog.text
    dialog.send_keys(webdriver.Keys.ESCAPE)
    assert not dialog.is_displayed()
    page.click("#benchmarks button", "inloc")
    page.choose("protocol", "inloc_hloc")
    assert all(name.endswith("-hloc") for name, value in
               zip(page.column("Run"), page.column("Measured"), strict=True) if value)  # fmt: skip
    page.click("#copy summary", "BibTeX")
    assert "@inproceedings" in page.js("return document.querySelectorAll('textarea')[1].value")


def test_several_people_s_runs_in_one_table(opened, page, tmp_path):
    results, other = page.with_name("results.json"), tmp_path / "b.json"
    other.write_text(results.read_text().replace(json.dumps(HOSTILE), '"theirs"', 1))
    both = tmp_path / "both.html"
    assert main(["report", "--from", str(results), str(other), "--output", str(both)]) == 0
    shown = opened(path=both)
    assert sorted(shown.column("Run")).count("d2_ms") == 2
    assert shown.column("Run").count("SuperPoint") == 1  # published once, whoever says it
    assert {*shown.column("Report")} == {HOSTILE, "theirs", ""}
    shown.choose("first", f"d2_ms ({HOSTILE})")
    shown.choose("second", "d2_ms (theirs)")
    assert "different reports" in shown.all("#verdict")[0].text
    assert len(shown.all("#scatter path.solid")) == 35
    shown.picture("both-1280-light", 1280)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_window_and_a_name_is_text(opened, width, dark):
    page = opened(width, dark)
    assert HOSTILE in page.all("header p")[0].text
    for name in ("hpatches", "aachen", "inloc"):
        page.click("#benchmarks button", name)
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
        page.picture(f"{name}-{width}-{'dark' if dark else 'light'}", width)
    unnamed = page.js(
        "return [...document.querySelectorAll('select, input, textarea, button')]"
        ".filter(n => !n.closest('label') && !n.textContent && !n.ariaLabel).length"
    )
    assert unnamed == 0
