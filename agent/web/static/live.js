// News: one long poll for the whole page. Rows of the list and regions of other pages change in place.
import { applyRows, grouped } from "./table.js";

const mark = document.getElementById("live");
const WORDS = { live: "Live", slow: "Slow", stale: "No news – reload" };
let cursor = document.body.dataset.cursor || "";
let failures = 0;
let lastRegions = new Map();

function show(state) {
  if (!mark || mark.dataset.state === state) return;
  mark.dataset.state = state;
  mark.querySelector(".live-word").textContent = WORDS[state];
}

export function startLive() {
  if (!mark || !document.body.dataset.cursor) return;
  show("live");
  poll();
  tick();
  setInterval(tick, 1000);
  for (const block of document.querySelectorAll('[data-live-on="timer"]')) {
    setInterval(() => { if (!document.hidden) refresh(block); }, Number(block.dataset.live) * 1000);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshAll(); });
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function poll() {
  const withRows = document.getElementById("rows") ? "&rows=1" : "";
  for (;;) {
    const began = performance.now();
    try {
      const slow = setTimeout(() => show("slow"), 32000);
      const answer = await fetch(`/api/v1/changes?since=${encodeURIComponent(cursor)}${withRows}`, {
        headers: { Accept: "application/json" }, signal: AbortSignal.timeout(40000), cache: "no-store",
      });
      clearTimeout(slow);
      if (answer.status === 401) { show("stale"); mark.querySelector(".live-word").textContent = "Logged out – log in"; return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      cursor = news.cursor;
      failures = 0;
      show("live");
      apply(news);
    } catch {
      failures += 1;
      show(failures > 3 ? "stale" : "slow");
      await sleep(Math.min(15000, 500 * 2 ** failures));
    }
    // an answer that came at once means that too many wait: ask once a second
    const took = performance.now() - began;
    if (took < 900) await sleep(900 - took);
  }
}

function apply(news) {
  for (const place of document.querySelectorAll("[data-count]")) {
    const key = place.dataset.count;
    const count = key === "all" ? Object.values(news.counts).reduce((a, b) => a + b, 0) : news.counts[key];
    const text = grouped(count ?? 0);
    if (place.textContent !== text) place.textContent = text;
  }
  if (!news.items.length && news.complete) return;
  applyRows(news);
  const changed = new Set(news.items.map((item) => item.id));
  for (const block of document.querySelectorAll("[data-live-on]")) {
    const on = block.dataset.liveOn;
    if (on === "*" || changed.has(on)) later(block);
  }
}

// at most once in the block's interval, and always once more after the last change
function later(block) {
  const gap = Number(block.dataset.live) * 1000;
  const state = lastRegions.get(block) || { at: 0, timer: 0 };
  if (state.timer) return;
  const wait = Math.max(0, state.at + gap - performance.now());
  state.timer = setTimeout(async () => { state.timer = 0; state.at = performance.now(); await refresh(block); }, wait);
  lastRegions.set(block, state);
}

export function refreshAll() {
  for (const block of document.querySelectorAll("[data-live-on]")) later(block);
}

function isBusy(region) {
  const focus = document.activeElement;
  if (focus && region.contains(focus) && /^(INPUT|TEXTAREA|SELECT)$/.test(focus.tagName)) return true;
  const chosen = document.getSelection();
  return Boolean(chosen && !chosen.isCollapsed && region.contains(chosen.anchorNode));
}

async function refresh(block) {
  let text;
  try {
    const answer = await fetch(location.href, { headers: { "X-Agent-Refresh": "1" }, cache: "no-store" });
    if (!answer.ok) return;
    text = await answer.text();
  } catch { return; }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const region of block.querySelectorAll(".region[id]")) {
    const next = fresh.getElementById(region.id);
    if (next && !isBusy(region)) replace(region, next);
  }
}

function replace(region, next) {
  if (region.innerHTML === next.innerHTML) return;
  const open = [...region.querySelectorAll("details[open]")].map((d) => d.closest("[id]")?.id + "|" + d.querySelector("summary")?.textContent);
  const places = [...region.querySelectorAll(".table-wrap, .timeline")].map((el) => el.scrollLeft);
  const focus = region.contains(document.activeElement) ? focusMark(document.activeElement) : null;
  const frame = region.querySelector("iframe");
  const nextFrame = next.querySelector("iframe");
  if (frame && nextFrame && frame.src === new URL(nextFrame.getAttribute("src"), location.href).href) return;
  region.replaceChildren(...document.importNode(next, true).childNodes);
  for (const details of region.querySelectorAll("details")) {
    if (open.includes(details.closest("[id]")?.id + "|" + details.querySelector("summary")?.textContent)) details.open = true;
  }
  region.querySelectorAll(".table-wrap, .timeline").forEach((el, i) => { el.scrollLeft = places[i] || 0; });
  for (const button of region.querySelectorAll("[data-copy]")) button.hidden = false;
  if (focus) [...region.querySelectorAll("a, button, summary, [tabindex]")].find((el) => focusMark(el) === focus)?.focus({ preventScroll: true });
}

const focusMark = (el) => `${el.tagName}|${el.getAttribute("href") || el.getAttribute("value") || ""}|${el.textContent.trim()}`;

function tick() {
  const now = Date.now() / 1000;
  for (const el of document.querySelectorAll("time[data-ago], time[data-age]")) {
    const passed = now - Number(el.dataset.ago || el.dataset.age);
    const text = el.dataset.age ? span(passed) : ago(passed);
    if (text && el.textContent !== text) el.textContent = text;
  }
}

function ago(s) {
  if (s < -1) return `in ${span(-s)}`;
  if (s < 5) return "just now";
  return s < 43200 ? `${span(s)} ago` : "";
}

function span(s) {
  s = Math.max(0, Math.floor(s));
  const t = "\u202f";
  if (s < 60) return `${s}${t}s`;
  const m = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
  if (m < 60) return `${m}${t}min`;
  if (h < 24) return m % 60 ? `${h}${t}h ${m % 60}${t}min` : `${h}${t}h`;
  return h % 24 && d < 7 ? `${d}${t}d ${h % 24}${t}h` : `${d}${t}d`;
}
