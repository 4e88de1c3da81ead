"""A reviewer's way through the dashboard in a real browser, with a real agent, bucket and analysis behind it."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright import sync_api

from agent.demo.s3_server import S3Server
from agent.demo.studies import DemoStudy, StudyKind, write_study
from tests.conftest import require
from tests.path.agent_process import AgentProcess
from tests.path.cloud_path import AnalysisService, cloud_environment
from tests.raw_sender import read_object, send_all

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "a rather long pass phrase"
STEP_MS = 150_000  # the first study waits until the kernels are compiled
WATCH = """() => {
    window.seen = [];
    const look = () => {
        const word = document.querySelector('.study-title .chip')?.lastChild.textContent.trim();
        if (word && window.seen.at(-1) !== word) window.seen.push(word);
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
    look();
}"""


@pytest.fixture
def browser() -> Iterator[Any]:
    require(os.path.exists(CHROMIUM), "Chromium is not installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


class Walk:
    """A person at the dashboard; each look is kept as a picture, and nothing the browser complains about is allowed."""

    def __init__(self, browser: Any, agent: AgentProcess, role: str, pictures: Path) -> None:
        self.agent, self.role, self.pictures = agent, role, pictures
        agent.cli("user", "add", f"walk-{role}", "--role", role, stdin=f"{PASSWORD}\n{PASSWORD}\n")
        self.page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        self.page.set_default_timeout(STEP_MS)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda m: self.problems.append(m.text) if "Content Security" in m.text else None)

    def log_in(self) -> None:
        self.page.goto(self.agent.web + "/studies")
        self.page.fill("[name=name]", f"walk-{self.role}")
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("button.button-main")
        self.page.wait_for_selector("h1:has-text('Studies')")
        self.page.wait_for_selector("#live[data-state=live]")

    def keep(self, name: str) -> None:
        self.page.screenshot(path=self.pictures / f"{self.role}-{name}.png", full_page=True)

    def command(self, button: str, reason: str) -> None:
        """Give a command that asks for a reason."""
        self.page.click(f"a:has-text('{button}')")
        self.page.fill("dialog textarea", reason)
        self.keep(f"asks-{button.split()[0].lower()}")
        self.page.click("dialog button.button-main")
        self.page.wait_for_selector(".note-good:has-text('done')")

    def seen(self) -> list[str]:
        words: list[str] = self.page.evaluate("window.seen")
        return words


def send_incomplete(agent: AgentProcess, folder: Path) -> None:
    """A head with seven slices missing: it stays Unstable, and quality control fails it when somebody forces it."""
    paths = write_study(DemoStudy(StudyKind.INCOMPLETE, 1, ""), folder)
    objects = [read_object(path) for path in paths]
    assert set(send_all(agent.dicom, [wire for wire in objects if wire is not None])) == {0}


def deliver_while_watched(walk: Walk, server: S3Server, log: Path) -> None:
    """Override, and see every step of the way without touching or loading the page again; the bucket is away at first."""
    walk.page.evaluate(WATCH)
    server.kill()
    try:
        walk.command("Override QC", "Seen by the physicist")
        walk.page.wait_for_selector(".study-title .chip:has-text('Uploading')")
        walk.page.wait_for_selector(".study-why:has-text('Next try within')")
        walk.keep("upload-waits")
    finally:
        server.start()
    walk.page.wait_for_selector(".study-title .chip:has-text('Pending')")
    with AnalysisService(server, log):
        walk.page.wait_for_selector(".study-title .chip:has-text('Delivered')")
    seen = walk.seen()
    assert seen[0] == "Failed" and seen[-1] == "Delivered"
    assert {"Uploading", "Pending"} <= set(seen)
    walk.keep("delivered")


def open_report(walk: Walk) -> None:
    """The PDF is shown in the page, and its address answers with a PDF."""
    with walk.page.expect_response(re.compile(r"/reports/\d+/.*\.pdf")) as answered:
        walk.page.click(".tabs a:has-text('Report')")
    assert answered.value.status == 200
    assert answered.value.headers["content-type"] == "application/pdf"
    frame = walk.page.wait_for_selector("iframe.report-frame")
    address = walk.agent.web + frame.get_attribute("src")
    body = walk.page.context.request.get(address).body()
    assert body.startswith(b"%PDF-") and len(body) > 1000
    for _ in range(150):
        if any(f.url.startswith("chrome-extension://") for f in walk.page.frames):
            break
        walk.page.wait_for_timeout(100)
    assert any(f.url.startswith("chrome-extension://") for f in walk.page.frames), "the viewer did not start"
    walk.page.wait_for_timeout(500)
    walk.keep("report")


def viewer_is_only_shown(walk: Walk, study_id: str) -> None:
    """No page offers a viewer anything to press, and a request that comes all the same is refused."""
    walk.log_in()
    for number, path in enumerate(
        ("/", "/studies", f"/studies/{study_id}", f"/studies/{study_id}/quality", "/connections")
    ):
        walk.page.goto(walk.agent.web + path)
        assert (
            walk.page.locator(
                "[data-command], [data-dialog], [data-command-form], input[name=study], #many, #reveal"
            ).count()
            == 0
        )
        # what is left is the person's own menu, search and copying
        own = "main button:visible:not([data-copy]):not([form=filters]):not(.search button)"
        assert walk.page.locator(own).all_inner_texts() == [], path
        walk.keep(f"page-{number}")
    token = walk.page.get_attribute("meta[name=csrf-token]", "content")
    for path in (
        f"/api/v1/studies/{study_id}/commands",
        f"/studies/{study_id}/commands",
        f"/studies/{study_id}/reveal",
    ):
        answer = walk.page.evaluate(
            """async ([path, token]) => (await fetch(path, { method: 'POST', redirect: 'manual', body: JSON.stringify({ verb: 'hold' }),
                headers: { 'Content-Type': 'application/json', 'X-CSRFToken': token } })).status""",
            [path, token],
        )
        assert answer == 403, path
    request = urllib.request.Request(
        f"{walk.agent.web}/api/v1/studies/{study_id}/commands", b'{"verb": "hold"}',
        {"Authorization": f"Bearer {walk.agent.make_token('viewer')}", "Content-Type": "application/json"},
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


@pytest.mark.timeout(400)
def test_a_reviewer_brings_a_failed_study_to_its_report_and_a_viewer_only_looks(
    make_agent: Callable[..., AgentProcess], s3_server: S3Server, browser: Any, tmp_path: Path
) -> None:
    s3_server.start()
    with make_agent(**cloud_environment(s3_server)) as agent:
        walk = Walk(browser, agent, "reviewer", tmp_path)
        page = walk.page
        walk.log_in()
        walk.keep("empty")
        send_incomplete(agent, tmp_path / "files")
        # the study appears by itself, and is opened from the list
        page.wait_for_selector("#rows .chip:has-text('Unstable')")
        walk.keep("list")
        page.click("#rows a.open")
        page.wait_for_selector(".evidence:has-text('missing')")
        walk.keep("unstable")
        walk.command("Force stable", "The scanner has no more images")
        page.wait_for_selector(".study-title .chip:has-text('Failed')")
        walk.keep("failed")
        page.click(".study-head a:has-text('Quality report')")
        page.wait_for_selector(".verdict-fail")
        assert page.locator(".checks .chip-failed").count() >= 1
        page.locator(".pictures img").first.scroll_into_view_if_needed()
        sync_api.expect(page.locator(".pictures img").first).not_to_have_js_property("naturalWidth", 0)
        walk.keep("quality")
        page.click(".crumbs a >> nth=1")
        page.wait_for_selector(".study-title .chip:has-text('Failed')")
        deliver_while_watched(walk, s3_server, tmp_path / "analysis.log")
        open_report(walk)
        assert walk.problems == []
        (study,) = agent.studies()
        viewer_is_only_shown(Walk(browser, agent, "viewer", tmp_path), study["id"])
