"""A headless Chromium, driven through its own pipe: no driver, no port, no network."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),
)
PATIENCE_S = 60.0
LOWEST_DESCRIPTOR = 10


class Browser:
    """One tab. `faults` collects what went wrong on its pages: console errors, exceptions, refused requests."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._numbers, self._rest = itertools.count(1), b""
        self._session: str | None = None
        self.faults: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                if "error" in found:
                    raise AssertionError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"the browser said nothing for {PATIENCE_S:g} s")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise AssertionError("the browser ended")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
        if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.faults.append(str(told["args"]))
        if method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.faults.append(told["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def open(self, file: Path, *, width: int = 1024, height: int = 800, scheme: str = "light") -> None:
        """Load a page and wait until it is drawn; forgets the faults of the page before."""
        self.faults.clear()
        self.requests.clear()
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.resize(width, height)
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.run("new Promise(r => document.readyState === 'complete' ? r() : addEventListener('load', () => r()))")
        self.settle()

    def resize(self, width: int, height: int) -> None:
        """Of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def settle(self) -> None:
        """Wait for two frames, in which observers and animation callbacks have run."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r())))")

    def run(self, script: str) -> Any:
        """The value of an expression, of what it promises where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']['exception'].get('description')}")
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, down and up."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def names(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader meets."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
        ]

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")

    def picture(self, file: Path) -> None:
        """A PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, gone afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, contextlib.ExitStack() as stack:
        theirs_in, ours_out = _pipe(stack)
        ours_in, theirs_out = _pipe(stack)
        # The protocol's pipe is file descriptors 3 (in) and 4 (out).
        actions = [
            *((os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_RDWR, 0) for at in (1, 2)),
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        ]
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"]
        process = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=actions)
        try:
            tab = Browser(ours_out, ours_in)
            yield tab
            tab.close()
        finally:
            _end(process)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Its two ends, closed with the stack; out of the way of the descriptors that the browser expects."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR) for end in ends]
    for end in ends:
        os.close(end)
    for end in moved:
        stack.callback(os.close, end)
    return moved[0], moved[1]


def _end(process: int) -> None:
    """Wait for it, and no longer than is polite."""
    deadline = time.monotonic() + 10.0
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
