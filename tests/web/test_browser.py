"""The dashboard in a real browser: the way of a study, what is live, who sees which button, accessibility."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.store import commands
from agent.store.database import transact
from agent.store.reader import study as reads
from agent.study import Role, StudyStatus, Trigger
from agent.web.feed import Feed
from agent.web.pages.account import limiter
from agent.web.server import make_server
from tests.conftest import require
from tests.web.hospital import NAMES, PASSWORD, Hospital

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = "/usr/bin/chromium"
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS = ["color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block"]
"""Rules whose answer changes with theme or width."""


class House:
    """A served hospital."""

    def __init__(self, folder: Path) -> None:
        self.hospital = Hospital(folder, threads=12)
        self.hospital.add_users()
        self.made = self.hospital.furnish()
        self.hospital.ready()
        self.feed = Feed(SystemClock(), waiters=6)
        self.server = make_server(self.hospital.settings, self.hospital.app(feed=self.feed))
        self.feed.start()
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.bind_addr[1]}"

    def close(self) -> None:
        self.feed.stop()
        self.server.stop()
        self.thread.join(5)
        self.hospital.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(Path(tmp_path_factory.mktemp("browser")))
    yield found
    found.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    require(os.path.exists(CHROMIUM), "Chromium is not installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


def _page(browser, house: House, role: Role, *, width: str = "desk", **options):  # type: ignore[no-untyped-def]
    limiter.reset()
    wide, high = WIDTHS[width]
    context = browser.new_context(viewport={"width": wide, "height": high}, **options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda m: page.problems.append(m.text) if "Content Security Policy" in m.text else None)
    page.goto(house.url + "/studies")
    page.fill("[name=name]", NAMES[role])
    page.fill("[name=password]", PASSWORD)
    page.click("button.button-main")
    page.wait_for_selector("h1:has-text('Studies')")
    return page


def test_from_login_over_list_and_report_to_an_override_that_is_done(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    failed = house.hospital.study(StudyStatus.FAILED, patient="ANON-WALK1")
    page = _page(browser, house, Role.REVIEWER)
    page.click("#rows a.open:has-text('ANON-WALK1')")
    page.wait_for_selector("h1:has-text('ANON-WALK1')")
    page.click("a.button-main:has-text('Quality report')")
    page.wait_for_selector(".verdict-fail")
    assert page.locator(".checks .range").count() >= 4
    page.click("a:has-text('Override QC')")
    page.fill("dialog textarea", "Seen by the physicist")
    page.click("dialog button.button-main")
    page.wait_for_selector(".note:has-text('requested')")
    # the engine's part: it claims the command and moves the study, with the outcome in the same transaction
    (claimed,) = transact(commands.claim_requested)
    assert (claimed.study_id, claimed.verb, claimed.reason) == (failed, "override", "Seen by the physicist")
    house.hospital.step(
        failed, StudyStatus.FAILED, Trigger.OVERRIDDEN, by="rita", command_id=claimed.id,
        command_outcome="quality control overridden",
    )  # fmt: skip
    page.wait_for_selector(".note-good:has-text('done – quality control overridden')")
    page.wait_for_selector(".study-title .chip:has-text('QC Passed')")
    assert page.problems == []
    page.context.close()


def test_a_report_opens_in_the_browser(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    page = _page(browser, house, Role.VIEWER)
    page.goto(f"{house.url}/studies/{house.made[StudyStatus.DELIVERED]}?tab=report")
    frame = page.wait_for_selector("iframe.report-frame")
    assert frame.get_attribute("src").endswith("report.pdf")
    deadline = time.monotonic() + 15
    while not any(f.url.startswith("chrome-extension://") for f in page.frames) and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert any(f.url.startswith("chrome-extension://") for f in page.frames), "the viewer did not start"
    assert page.problems == []
    page.context.close()


def test_a_viewer_sees_no_button_that_acts(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    page = _page(browser, house, Role.VIEWER)
    failed = house.made[StudyStatus.FAILED]
    for path in ("/", "/studies", f"/studies/{failed}", f"/studies/{failed}/quality"):
        page.goto(house.url + path)
        assert page.locator("[data-command], [data-dialog], input[name=study], #many").count() == 0, path
        for word in ("Retry", "Override", "Hold", "Delete", "Reveal"):
            assert page.get_by_text(word, exact=False).locator("visible=true").count() == 0, (path, word)
    page.context.close()


def test_a_change_appears_in_place_without_disturbing_anybody(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    arriving = house.hospital.study(StudyStatus.UNSTABLE, patient="ANON-L1VE", images=10, expected=40)
    page = _page(browser, house, Role.REVIEWER)
    page.wait_for_selector("#live[data-state=live]")
    row = page.locator(f"tr[data-id='{arriving}']")
    row.locator("input[name=study]").check()
    page.fill("input[name=description]", "ha")  # half-typed: two characters are no search yet
    page.evaluate("window.scrollTo(0, 60); window.mark = document.querySelector('#rows tr')")
    scroll = page.evaluate("window.scrollY")
    house.hospital.arrive("1.2.826.0.1.3680043.8.498.77.1", patient="ANON-0THER")
    uid = house.hospital.database.execute_sql("SELECT study_uid FROM study WHERE id = ?", (arriving,)).fetchone()[0]
    house.hospital.arrive(uid, first=11, images=20, patient="ANON-L1VE")
    page.wait_for_selector(f"tr[data-id='{arriving}'] .c-images:has-text('30')")
    house.hospital.step(arriving, StudyStatus.UNSTABLE, Trigger.FOUND_COMPLETE)
    page.wait_for_selector(f"tr[data-id='{arriving}'] .c-status:has-text('Stable')")
    assert row.locator("input[name=study]").is_checked()
    assert page.input_value("input[name=description]") == "ha"
    assert page.evaluate("window.scrollY") == scroll
    assert page.evaluate("window.mark.isConnected")
    # a new study does not push what somebody reads: it is announced, and shown when asked for
    page.wait_for_selector("#news-button:has-text('new stud')")
    page.click("#news-button")
    page.wait_for_selector("#rows a.open:has-text('ANON-0THER')")
    assert page.problems == []
    page.context.close()


def test_a_row_that_leaves_the_filter_fades_with_a_note(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    stable = house.hospital.study(StudyStatus.STABLE, patient="ANON-LEAVES")
    page = _page(browser, house, Role.REVIEWER)
    page.goto(house.url + "/studies?status=stable")
    page.wait_for_selector("#live[data-state=live]")
    house.hospital.step(stable, StudyStatus.STABLE, Trigger.QC_PASS)
    page.wait_for_selector(f"tr.is-leaving[data-id='{stable}'] .leave-note")
    page.context.close()


def test_search_works_while_typing_and_from_the_keyboard(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    page = _page(browser, house, Role.REVIEWER)
    page.wait_for_selector("#live[data-state=live]")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("#rows tr.is-here").count() == 1
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] .keys")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("ANON-REV", delay=20)
    sync_api.expect(page.locator("#rows tr")).to_have_count(1)
    assert "q=ANON-REV" in page.url
    page.locator("#rows a.open").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('ANON-REV1EW')")
    page.context.close()


def test_theme_and_density_stay_chosen(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    page = _page(browser, house, Role.VIEWER, color_scheme="light")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.click(".menu > summary")
    with page.expect_response("**/account/look"):
        page.click("button:has-text('Dark')")
    with page.expect_response("**/account/look"):
        page.click("button:has-text('Compact')")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    assert page.get_attribute("html", "data-density") == "compact"
    page.context.close()


def test_everything_works_without_javascript(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    failed = house.hospital.study(StudyStatus.FAILED, patient="ANON-PLAIN")
    page = _page(browser, house, Role.REVIEWER, java_script_enabled=False)
    page.fill("#search", "ANON-PLAIN")
    page.click(".search button")
    page.click("#rows a.open")
    page.click("a:has-text('Override QC')")
    page.fill("textarea", "No JavaScript here")
    page.click("#confirm button")
    page.wait_for_selector(".note:has-text('Override QC by rita: requested')")
    assert reads.read_commands(failed)[0].reason == "No JavaScript here"
    transact(commands.claim_requested)
    page.context.close()


def _paths(house: House, role: Role) -> list[str]:
    """Every page, every tab; those that look different by status in the statuses that differ."""
    failed, arriving, sent = (house.made[s] for s in (StudyStatus.FAILED, StudyStatus.UNSTABLE, StudyStatus.DELIVERED))
    if role is Role.ADMIN:
        return ["/audit?action=login", "/audit?actor=nobody", "/users", "/health", f"/studies/{sent}?tab=audit"]
    tabs = [f"/studies/{sent}?tab={tab}" for tab in ("reception", "deid", "upload", "report")]
    none = [f"/studies/{arriving}?tab={tab}" for tab in ("reception", "quality", "deid", "upload", "report")]
    return [
        "/", "/studies", "/studies?q=nothing-fits", "/studies?status=failed&page_size=25", f"/studies/{failed}",
        f"/studies/{failed}?tab=quality", f"/studies/{failed}/quality", f"/studies/{failed}/commands/override",
        f"/studies/{failed}/commands/delete", *tabs, *none, "/connections", "/connections?show=refused",
        "/account/password", "/nothing-here",
    ]  # fmt: skip


def _findings(page, path: str) -> list[object]:  # type: ignore[no-untyped-def]
    """Look at a loaded page in both themes and at both widths; all rules once, those that depend on looks each time."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[object] = []
    for theme, width in (("light", "desk"), ("light", "phone"), ("dark", "phone"), ("dark", "desk")):
        wide, high = WIDTHS[width]
        page.set_viewport_size({"width": wide, "height": high})
        page.emulate_media(color_scheme=theme)
        is_first = (theme, width) == ("light", "desk")
        rules = {"runOnly": STANDARD if is_first else {"type": "rule", "values": LOOKS}}
        violations = Axe().run(page, options=rules).response["violations"]
        found += [(path, theme, width, v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in violations]
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if over > 0:
            found.append((path, width, f"wider than the window by {over} px"))
    return found


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.ADMIN])
def test_pages_meet_wcag_and_fit_their_width(browser, house: House, role: Role) -> None:  # type: ignore[no-untyped-def]
    # the page's own policy forbids the scanner's script; it is lifted for the scan alone
    page = _page(browser, house, role, bypass_csp=True)
    found = []
    for path in _paths(house, role):
        page.goto(house.url + path)
        found += _findings(page, path)
    page.context.close()
    assert found == []


def test_the_way_in_meets_wcag(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(house.url + "/login")
    assert _findings(page, "/login") == []
    context.close()


def test_targets_are_large_enough_on_a_tablet(browser, house: House) -> None:  # type: ignore[no-untyped-def]
    page = _page(browser, house, Role.REVIEWER, has_touch=True)
    page.set_viewport_size({"width": 1024, "height": 768})
    small = page.evaluate(
        """() => [...document.querySelectorAll('a.button, button, summary, .small, .tabs a, .nav a, input:not([type=hidden]), select')]
            .filter((el) => el.offsetParent && !el.closest('.pick') && el.getBoundingClientRect().height < 43.5)
            .map((el) => el.outerHTML.slice(0, 80))"""
    )
    assert small == []
    page.context.close()
