// The list of studies: rows change in place, search as you type, choosing rows.
const results = () => document.getElementById("results");
let unseen = new Set();

export function startTable() {
  if (!document.getElementById("rows")) return;
  document.addEventListener("change", onChange);
  document.getElementById("news-button")?.addEventListener("click", () => load(location.href));
  const all = document.getElementById("pick-all");
  if (all) all.hidden = false;
  const filters = document.getElementById("filters");
  filters?.addEventListener("submit", (event) => { event.preventDefault(); load(address(filters)); });
  document.addEventListener("input", onInput);
  window.addEventListener("popstate", () => load(location.href, false));
  showChosen();
}

function address(form) {
  const values = new URLSearchParams();
  for (const [key, value] of new FormData(form)) if (String(value).trim()) values.set(key, String(value));
  const query = values.toString();
  return form.action + (query ? `?${query}` : "");
}

let typing = 0;
function onInput(event) {
  const field = event.target;
  if (field.form?.id !== "filters" || field.type === "hidden") return;
  const text = field.value.trim();
  if ((field.type === "search" || field.type === "text") && text.length > 0 && text.length < 3 && field.name !== "modality") return;
  clearTimeout(typing);
  typing = setTimeout(() => load(address(field.form)), 300);
}

let loading = null;
async function load(url, keep = true) {
  loading?.abort();
  loading = new AbortController();
  try {
    const answer = await fetch(url, { signal: loading.signal, cache: "no-store" });
    if (!answer.ok) { location.assign(url); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const chosen = new Set(picked().map((box) => box.value));
    swap("rows", page); swapAll(page, "tabs");
    const now = results(), next = page.getElementById("results");
    for (const part of [".table-foot", ".empty"]) {
      now.querySelector(part)?.remove();
      const fresh = next.querySelector(part);
      if (fresh) now.append(document.importNode(fresh, true));
    }
    // sort links follow the filters; the fields with half-typed text stay
    const heads = next.querySelectorAll("thead tr:first-child .sort");
    now.querySelectorAll("thead tr:first-child .sort").forEach((link, i) => { link.href = heads[i].getAttribute("href"); });
    Object.assign(now.dataset, { ...next.dataset });
    for (const box of boxes()) box.checked = chosen.has(box.value);
    const back = document.querySelector('#many [name="back"]');
    if (back) back.value = next.dataset.search;
    const csv = document.querySelector(".page-do a[download]"), nextCsv = page.querySelector(".page-do a[download]");
    if (csv && nextCsv) csv.href = nextCsv.getAttribute("href");
    if (keep && url !== location.href) history.replaceState(null, "", url);
    unseen.clear(); showNews(); showChosen();
  } catch (error) {
    if (error.name !== "AbortError") location.assign(url);
  }
}

function swap(id, page) {
  document.getElementById(id).replaceChildren(...document.importNode(page.getElementById(id), true).childNodes);
}
const swapAll = (page, id) => { if (page.getElementById(id)) swap(id, page); };

export function applyRows(news) {
  const body = document.getElementById("rows");
  if (!body) return;
  if (!news.complete) { load(location.href); return; }
  const statuses = (results().dataset.statuses || "").split(",").filter(Boolean);
  for (const item of news.items) {
    const row = body.querySelector(`tr[data-id="${CSS.escape(item.id)}"]`);
    const fits = !item.flags.includes("deleted") && (!statuses.length || statuses.includes(item.status));
    if (row) {
      update(row, item.row);
      if (!fits) leave(row, item); else row.classList.remove("is-leaving");
    } else if (fits) {
      if (results().dataset.first && isAtTop()) insert(body, item.row); else if (results().dataset.first) unseen.add(item.id);
    }
  }
  showNews();
}

const isAtTop = () => window.scrollY < 40 && !picked().length && !document.querySelector("#rows :focus, #rows details[open]");

export const grouped = (count) => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

function parse(html) {
  const holder = document.createElement("template");
  holder.innerHTML = `<table><tbody>${html}</tbody></table>`;
  return holder.content.querySelector("tr");
}

// cell by cell: the checkbox, an open menu and the focus stay where they are
function update(row, html) {
  const next = parse(html);
  row.dataset.status = next.dataset.status;
  [...next.cells].forEach((cell, i) => {
    const old = row.cells[i];
    if (!old || old.classList.contains("c-pick") || old.innerHTML === cell.innerHTML) return;
    if (old.contains(document.activeElement) || old.querySelector("details[open]")) { old.dataset.later = "1"; return; }
    old.replaceChildren(...cell.childNodes);
  });
}

function insert(body, html) {
  const row = parse(html);
  row.classList.add("is-new");
  body.prepend(row);
  const total = document.getElementById("total");
  total.dataset.number = String(Number(total.dataset.number) + 1);
  total.textContent = grouped(total.dataset.number);
  document.getElementById("total-word").textContent = total.dataset.number === "1" ? "study" : "studies";
  results().querySelector(".empty")?.remove();
  const size = Number(new URLSearchParams(location.search).get("page_size") || 50);
  while (body.rows.length > size) body.rows[body.rows.length - 1].remove();
}

function leave(row, item) {
  if (row.classList.contains("is-leaving")) return;
  row.classList.add("is-leaving");
  const note = document.createElement("span");
  note.className = "leave-note";
  note.textContent = "no longer in this list";
  row.querySelector(".c-status")?.append(note);
}

function showNews() {
  const news = document.getElementById("news");
  if (!news) return;
  news.hidden = unseen.size === 0;
  document.getElementById("news-button").textContent = `${unseen.size} new ${unseen.size === 1 ? "study" : "studies"} – show`;
}

const boxes = () => [...document.querySelectorAll('#rows input[name="study"]')];
const picked = () => boxes().filter((box) => box.checked);

function onChange(event) {
  if (event.target.id === "pick-all") for (const box of boxes()) box.checked = event.target.checked;
  if (event.target.id === "pick-all" || event.target.name === "study") showChosen();
}

export function showChosen() {
  const bar = document.getElementById("many");
  if (!bar) return;
  const count = picked().length;
  bar.hidden = count === 0;
  document.getElementById("many-count").textContent = `${count} ${count === 1 ? "study" : "studies"} chosen`;
  for (const box of boxes()) box.closest("tr").classList.toggle("is-chosen", box.checked);
}
