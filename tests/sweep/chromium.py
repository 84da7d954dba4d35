"""A page in a headless Chromium, driven by its own debugging protocol over a pipe: no driver, no port."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
SECONDS = 30
MIDDLE = """(() => {
  const element = document.querySelector(%s);
  element.scrollIntoView({block: "center", inline: "center"});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""


class Page:
    """One tab: what a reader sees and does."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._buffer, self._last = reading, writing, b"", 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; the events before it are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(self._writing, json.dumps({**message, **session}).encode() + b"\0")
        while (answer := self._read()).get("id") != self._last:
            if self._session is not None and "method" in answer:
                self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._reading, 1 << 20)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there."""
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives (promises are awaited); an exception there is one here."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {expression}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, which is scrolled into view."""
        x, y = self.value(MIDDLE % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Focus a field, and type."""
        self.click(selector)
        self.call("Input.insertText", text=text)

    def press(self, key: str, text: str = "") -> None:
        """Press a key, as "Tab" or "Enter"."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        found: list[str] = self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((element) => element.textContent)"
        )
        return found

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[dict[str, Any]]:
        """Uncaught exceptions and logged errors since the page was opened."""
        self.value("0")  # events that were sent before have arrived with the answer
        return [event for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def seconds(self) -> float:
        """Of the processor, that the page has taken since it was opened: the same on a busy machine and an idle one."""
        self.value("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # what is due is painted
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")

    def screenshot(self, path: Path, width: int = 1400, dark: bool = False) -> None:
        """The whole page as a PNG, for a person to look at."""
        self.look(width, dark)
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def look(self, width: int, dark: bool = False) -> None:
        """Set the width of the window and the colour scheme."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A fresh Chromium with its profile, and what it downloads, in a folder."""
    assert CHROMIUM is not None
    (from_chromium, its_output), (its_input, to_chromium) = os.pipe(), os.pipe()
    # The protocol's pipe is on the file descriptors 3 and 4 of the process.
    command = f'exec "$0" "$@" 3<&{its_input} 4>&{its_output}'
    options = [*OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *options], pass_fds=(its_input, its_output), stderr=log, stdout=log
        )
    os.close(its_output)
    os.close(its_input)
    try:
        page = Page(from_chromium, to_chromium)
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        yield page
    finally:
        os.close(to_chromium)
        process.kill()
        process.wait(SECONDS)
        os.close(from_chromium)
