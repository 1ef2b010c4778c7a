"""The page in a real Chromium, without a screen."""

from __future__ import annotations

import io
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streamer.flow.wire.looks import GetBrick
from streamer.frames import Decision
from tests.integration.station import eventually
from tests.web.served import STEER, PhantomDaemon, ServedPage, journal

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
PHONE = {"width": 390, "height": 844}
WITHIN_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, served: ServedPage) -> Iterator[Page]:
    """The page on a large screen; whatever the browser complains about fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(served.address)
    yield page
    context.close()
    assert complaints == []


def picture(page: Page, plane: str) -> str:
    """The picture of a plane as it is on the page."""
    return str(page.evaluate(f"document.querySelector('#plane-{plane} canvas').toDataURL()"))


def drawn(page: Page, plane: str) -> None:
    """Wait until a plane has a picture."""
    expect(page.locator(f"#plane-{plane} canvas").first).to_have_attribute("data-drawn", re.compile("."))


def changed(page: Page, plane: str, before: str) -> None:
    """Wait until a plane shows another picture."""
    eventually(lambda: picture(page, plane) != before, f"another picture of {plane}")


def enter_token(page: Page, token: str) -> None:
    page.click("#token-button")
    page.fill("#token", token)
    page.press("#token", "Enter")


def serious(page: Page) -> list[Any]:
    """What axe-core finds that keeps people from using the page."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]


def wide(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_planes_verdict_and_numbers_are_shown(page: Page, daemon: PhantomDaemon) -> None:
    for plane in ("xy", "xz", "yz"):
        drawn(page, plane)
    expect(page.locator("#title")).to_have_text("foam · s1")
    expect(page.locator("#angles")).to_have_text("30 of 90")
    daemon.judge(Decision.RETAKE, "the sample moved by 3 px")
    expect(page.locator("#word")).to_have_text("RETAKE")
    expect(page.locator("#reasons")).to_contain_text("the sample moved by 3 px")
    expect(page.locator("#token-button")).to_have_text("Read only")
    expect(page.locator("#xy-z")).to_be_disabled()
    assert not wide(page)
    assert serious(page) == []


def test_a_slider_moves_a_plane_once_the_token_is_right(page: Page) -> None:
    drawn(page, "xy")
    enter_token(page, "not the token, but as long")
    expect(page.locator("#token-text")).to_contain_text("not right")
    page.fill("#token", STEER)
    page.press("#token", "Enter")
    expect(page.locator("#token-button")).to_have_text("Steering")
    expect(page.locator("#xy-z")).to_be_enabled()
    page.locator("#xy-z").fill("10")
    before = picture(page, "xy")
    page.locator("#xy-z").fill("33")
    changed(page, "xy", before)


def test_mouse_and_keys_move_the_planes(page: Page, daemon: PhantomDaemon) -> None:
    drawn(page, "xy")
    enter_token(page, STEER)
    expect(page.locator("#xz-y")).to_be_enabled()
    stage = page.locator("#plane-xy .stage")
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 9, box["y"] + box["height"] / 4)
    page.mouse.up()
    expect(page.locator("#xz-y")).to_have_value(re.compile("^1[4-8]$"))
    stage.focus()
    stage.press("ArrowDown")
    stage.press("PageUp")
    page.locator("#free-tilt_deg").fill("70")
    drawn(page, "free")
    expect(page.locator("#plane-free .top span")).to_have_text("30 of 90 angles")


def test_the_detector_is_seen(page: Page) -> None:
    drawn(page, "xy")
    page.keyboard.press("3")
    for subject in ("raw", "projection", "sinogram"):
        drawn(page, subject)
    expect(page.locator("#plane-raw .top span")).to_have_text("flat 3")
    assert not wide(page)
    assert serious(page) == []
    page.keyboard.press("1")
    expect(page.locator("#plane-raw")).to_be_hidden()


def test_the_tomogram_that_grows_is_seen_in_three_dimensions(page: Page, daemon: PhantomDaemon) -> None:
    drawn(page, "xy")
    page.click("#tab-volume")
    expect(page.locator("#scene-text")).to_contain_text("64 × 64 × 48, every voxel, 30 of 90 angles")
    eventually(lambda: lit(page) > 0.02, "something in the scene")
    before = lit(page)
    page.get_by_label("x from, %").fill("50")
    eventually(lambda: lit(page) < 0.9 * before, "half is cut away")
    page.get_by_label("x from, %").fill("0")
    page.get_by_label("Transparent below, %").fill("90")
    eventually(lambda: lit(page) < 0.9 * before, "only the densest is left")
    page.get_by_label("Transparent below, %").fill("25")
    daemon.angles = 45
    expect(page.locator("#scene-text")).to_contain_text("45 of 90 angles")
    page.click("text=Full detail at the cross-hair")
    eventually(lambda: any(isinstance(asked, GetBrick) and asked.box for asked in daemon.requests), "a box")
    daemon.angles = 30
    assert serious(page) == []


def begin(batch: Path) -> None:
    """Four samples, of which the second one is in the beam."""
    names = ["Ti 6Al 4V", "foam", "a sample with a name that is rather long", "kůra"]
    journal(batch, "started", samples=[{"scan": {"sample": name}, "slot": n} for n, name in enumerate(names)])
    journal(batch, "decided", sample="Ti 6Al 4V", decision={"choice": "accept"})
    journal(batch, "scanning", sample="foam", scan_id="s1")


def test_the_samples_of_the_batch_are_shown(page: Page, batch: Path) -> None:
    drawn(page, "xy")
    expect(page.locator("#queue")).to_be_hidden()
    begin(batch)
    expect(page.locator("#queue li")).to_have_count(4)
    expect(page.locator("#queue [aria-current]")).to_contain_text("foam")
    expect(page.locator("#queue-said")).to_contain_text("1 of 4 done")
    assert not wide(page)
    assert serious(page) == []


@pytest.mark.parametrize("tab", ["planes", "volume", "detector"])
def test_on_a_phone_everything_fits(page: Page, tab: str) -> None:
    page.set_viewport_size(PHONE)
    drawn(page, "xy")
    page.click(f"#tab-{tab}")
    expect(page.locator(f"#{tab}")).to_be_visible()
    assert not wide(page)
    expect(page.locator("#word")).to_be_in_viewport()
    assert serious(page) == []


def test_a_past_scan_is_cut_through_and_seen_in_three_dimensions(
    page: Page, daemon: PhantomDaemon, batch: Path
) -> None:
    """The last test: the scan of the daemon ends."""
    drawn(page, "xy")
    begin(batch)
    if not daemon.report.state.final:
        daemon.finish()
    expect(page.locator("#history button")).to_have_count(1)
    expect(page.locator("#queue button img")).to_have_count(1)
    expect(page.locator("#word")).to_have_text("ENOUGH")
    expect(page.locator("#xy-z")).to_be_enabled()
    before = picture(page, "xy")
    page.locator("#xy-z").fill("12")
    changed(page, "xy", before)
    expect(page.locator("#plane-xy .top span")).to_have_text("from the tomogram")
    page.click("#tab-volume")
    page.wait_for_selector("#scene[data-step] canvas")
    expect(page.locator("#scene-text")).to_contain_text("64 × 64 × 48")
    eventually(lambda: lit(page) > 0.02, "something in the scene")
    assert serious(page) == []
    daemon.run_on("s2", "bone")
    page.click("#tab-planes")
    expect(page.locator("#stale")).to_contain_text("the last result stays")


def lit(page: Page) -> float:
    """The share of the scene that is not black."""
    url = page.evaluate(
        "(document.getElementById('scene').view.draw(), document.querySelector('#scene canvas').toDataURL())"
    )
    seen = np.asarray(Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("L"))
    return float((seen > 20).mean())
