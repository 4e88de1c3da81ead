// Keyboard: / search, j k rows, Enter open, x choose, ? help, Esc close.
import { showChosen } from "./table.js";

const dialog = () => document.getElementById("dialog");

export function startKeys() {
  document.addEventListener("keydown", onKey);
  const help = document.querySelector("[data-help]");
  if (help) { help.hidden = false; help.addEventListener("click", showHelp); }
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll("details.menu[open], details.more[open]")) if (!open.contains(event.target)) open.open = false;
  });
}

function showHelp() {
  dialog().replaceChildren(document.getElementById("help").content.cloneNode(true));
  dialog().showModal();
}

function onKey(event) {
  if (event.key === "Escape") {
    for (const open of document.querySelectorAll("details.menu[open], details.more[open]")) { open.open = false; open.querySelector("summary").focus(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || dialog().open) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
  const act = { "/": search, j: () => move(1), k: () => move(-1), x: choose, "?": showHelp }[event.key];
  if (act) { event.preventDefault(); act(); return; }
  if (event.key === "Enter" && event.target === document.body) here()?.querySelector(".open")?.click();
}

function search() {
  const field = document.getElementById("search");
  field?.focus();
  field?.select();
}

const here = () => document.querySelector("#rows tr.is-here");

function move(by) {
  const rows = [...document.querySelectorAll("#rows tr")];
  if (!rows.length) return;
  const at = rows.indexOf(here());
  const next = rows[Math.min(rows.length - 1, Math.max(0, at === -1 ? 0 : at + by))];
  here()?.classList.remove("is-here");
  next.classList.add("is-here");
  next.scrollIntoView({ block: "nearest" });
  next.querySelector(".open")?.focus({ preventScroll: true });
}

function choose() {
  const box = here()?.querySelector('input[name="study"]');
  if (box) { box.checked = !box.checked; showChosen(); }
}
