"""A headless Chromium driven through the pipe of its DevTools protocol: no port, no driver, no package.

Tests of pages need one on the path; `make test` installs it where it can, and axe-core, which judges how accessible a
page is. The environment variable ASSAY_SCREENSHOTS names a folder to keep their pictures in.
"""

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

AXE = Path(__file__).resolve().parents[1] / ".axe/node_modules/axe-core/axe.min.js"
"""Where `make axe` puts it."""
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions"),
    *("--force-color-profile=srgb", "--font-render-hinting=none"),
)


def find_chromium() -> str | None:
    """The first Chromium on the path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


BRIGHTNESS = """(async (png) => {
  const bytes = Uint8Array.from(atob(png), (char) => char.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes]));
  const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  const { data } = canvas.getImageData(0, 0, picture.width, picture.height);
  const counts = new Array(256).fill(0);
  for (let at = 0; at < data.length; at += 4) counts[Math.round((data[at] + data[at + 1] + data[at + 2]) / 3)] += 1;
  return counts;
})"""


class Browser:
    """One browser with one page; every call waits for its answer."""

    def __init__(self, command: str, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # to the browser, from the browser
        self._to, self._from = ours[1], theirs[0]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1])]

        def at_three_and_four() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [command, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=at_three_and_four,
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours[0], theirs[1], *ends):
            os.close(end)
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        """What the page told since it was opened: requests, exceptions, messages of its console."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a method of the protocol answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result
            self.events.append(told)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(
        self, path: Path, part: str = "", width: int = 1280, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> None:
        """Load a file (`part` is what stands in its address from # on) and wait until it is there."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.look(width, height, dark)
        self._load("about:blank")  # from one part of a page to another nothing is loaded
        self._load(path.as_uri() + part)

    def _load(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def look(self, width: int, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Change the size of the window, the colour scheme, and whether it is a screen or paper."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description"))
        return found["result"].get("value")

    def screenshot(self, whole: bool = False) -> bytes:
        """The window as PNG, or the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def brightness(self, png: bytes) -> Any:
        """How many pixels of a picture have each brightness: shape (256,). Leaves the page."""
        self.call("Emulation.setScriptExecutionDisabled", value=False)
        self._load("about:blank")
        return np.array(self.run(f"{BRIGHTNESS}({base64.b64encode(png).decode()!r})"))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


PHONE, DESKTOP = 360, 1280
"""Widths of a window, in CSS pixels."""


def keep(name: str, png: bytes) -> None:
    if folder := os.environ.get("ASSAY_SCREENSHOTS"):
        (Path(folder) / f"{name}.png").write_bytes(png)


def assert_quiet(browser: Browser, page: Path) -> None:
    """Nothing was asked for but the page itself; no script failed, and the policy had nothing to forbid."""
    asked = [event["params"]["request"]["url"] for event in browser.events if event["method"].endswith("WillBeSent")]
    assert {url.partition("#")[0] for url in asked} == {page.as_uri()}
    faults = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
    assert [event for event in browser.events if event["method"] in faults] == []


WIDER = """[...document.querySelectorAll("body *")].filter(each => each.getBoundingClientRect().right > innerWidth + 1
  && !each.closest(".scroll, pre")).map(each => each.outerHTML.slice(0, 90))"""
"""What of a page goes beyond its window."""

CUT_OFF = """[...document.querySelectorAll(".scroll, pre")].filter(each => each.getClientRects().length
  && (each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1)
  && getComputedStyle(each).overflowX !== "visible").map(each => each.outerHTML.slice(0, 90))"""
"""What of a page has more in it than it shows."""
CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, at) => value * top[3] + below[at] * (1 - top[3]));
  const light = (rgb) => rgb.map((value) => value / 255).map((value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const worst = new Map();
  for (const each of document.querySelectorAll("body *")) {
    const text = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !each.getClientRects().length || each.closest("svg, script, option")) continue;
    const behind = [];
    for (let at = each; at; at = at.parentElement) behind.push(rgba(getComputedStyle(at).backgroundColor));
    const back = behind.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    const front = over(rgba(getComputedStyle(each).color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = each.tagName + "." + each.className;
    if (!(worst.get(name) <= ratio)) worst.set(name, ratio);
  }
  return Object.fromEntries(worst);
})()"""
"""The least contrast of each kind of element that has text, by WCAG's formula."""


def assert_readable(browser: Browser, page: Path, width: int, dark: bool, name: str) -> None:
    """The page fits a window, its text stands out from what is behind it, it is not blank, and it asks for nothing."""
    browser.open(page, width=width, height=800, dark=dark)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(WIDER) == []
    contrast = browser.run(CONTRAST)
    assert len(contrast) > 10
    assert {each: ratio for each, ratio in contrast.items() if ratio < 4.5} == {}, "WCAG 2.2, 1.4.3"
    shot = browser.screenshot()
    keep(f"{name}_{width}_{'dark' if dark else 'light'}", shot)
    assert_quiet(browser, page)
    seen = browser.brightness(shot)
    background = int(np.searchsorted(np.cumsum(seen), seen.sum() / 2))
    assert (background < 60) == dark
    text = seen[np.abs(np.arange(256) - background) > 60].sum() / seen.sum()
    assert 0.02 < text < 0.4, "it is neither blank nor black"


VIOLATIONS = """axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations.flatMap((rule) =>
  rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 200)}`)))"""
WHOLE = """(() => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  for (const each of document.querySelectorAll("article")) each.style.contentVisibility = "visible";
})()"""
"""Opens what is folded, and lays out what is not seen yet: axe-core takes its place for what lies there."""


def assert_accessible(browser: Browser) -> None:
    """axe-core finds nothing wrong with the page that is open, unfolded; skips where axe-core is not installed."""
    if not AXE.is_file():
        pytest.skip(f"no axe-core in {AXE.parent}: `make axe` installs it where npm can")
    browser.run(WHOLE)
    browser.run(f"{AXE.read_text(encoding='utf-8')}; 0")
    assert browser.run(VIOLATIONS) == []


UNPACKED = """new Promise((done) => {
  const look = () => document.getElementById("list").hidden ? setTimeout(look, 5) : done(true);
  look();
})"""
"""Waits until a report of a data set has unpacked its rejected rows."""
ROLLED = """[...document.querySelectorAll(".scroll")].filter(each => each.scrollWidth > each.clientWidth + 1)
  .map(each => each.outerHTML.slice(0, 90))"""
"""Tables with columns that are seen only when they are scrolled to."""


def assert_printable(browser: Browser, page: Path, name: str) -> None:
    """On paper nothing is cut off."""
    browser.open(page)
    browser.look(720, media="print")  # A4 without its margins
    assert browser.run("document.documentElement.scrollWidth") <= 720
    assert browser.run(CUT_OFF) == []
    keep(f"{name}_print", browser.screenshot())
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
