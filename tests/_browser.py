"""Headless Chromium, driven over its own protocol by a pair of pipes: no driver, no port."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: where ``make browser`` puts axe-core, which knows the rules of accessible pages
AXE = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-quic", "--force-prefers-reduced-motion", "--remote-debugging-pipe"),
)
#: key -> what a keyboard sends with it
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}


class Browser:
    """One tab; what its console and its network say is kept in ``events``."""

    def __init__(self, seconds: float = 60):
        self.seconds, self.events, self._n, self._read = seconds, [], 0, b""
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

    def __enter__(self) -> "Browser":
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        shell = f'exec "$0" "$@" 3<&{theirs} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, *command],
            pass_fds=(theirs, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self._session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict:
        """Send a command and return its answer; events before it are kept."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.seconds
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._n:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, deadline: float) -> dict:
        """The next message, an event or an answer."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"Chromium said nothing for {self.seconds} s"
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium has ended"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        found = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found

    def of(self, method: str) -> list[dict]:
        """Parameters of the events of one kind."""
        return [e["params"] for e in self.events if e["method"] == method]

    def open(self, path: Path, width: int = 1400, dark: bool = False, scripts: bool = True) -> None:
        """Load a file in a window of a width, until all of it is there."""
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + self.seconds
        while not self.of("Page.loadEventFired"):
            self._next(deadline)

    def run(self, code: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = _KEYS.get(key) or (ord(key.upper()), key)
        sent = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **sent)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{**sent, "text": ""})

    def complaints(self) -> list[str]:
        """What the console and the network said since the page was opened: errors and requests."""
        said = [e["exceptionDetails"]["text"] for e in self.of("Runtime.exceptionThrown")]
        said += [e["entry"]["text"] for e in self.of("Log.entryAdded")]
        said += [e["type"] for e in self.of("Runtime.consoleAPICalled")]
        urls = [e["request"]["url"] for e in self.of("Network.requestWillBeSent")]
        return said + [url for url in urls if not url.startswith(("file:", "data:"))]
