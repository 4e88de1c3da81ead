// Commands: a dialog for reason and confirmation, then requested → done or refused, without leaving the page.
import { refreshAll } from "./live.js";

const dialog = document.getElementById("dialog");
const token = () => document.querySelector('meta[name="csrf-token"]').content;

export function startCommands() {
  document.addEventListener("click", onClick);
  document.addEventListener("submit", onSubmit);
  dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}

async function onClick(event) {
  if (!(event.target instanceof Element)) return;
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    return;
  }
  if (event.target.closest("[data-close]") && dialog.open) { event.preventDefault(); dialog.close(); return; }
  const link = event.target.closest("a[data-dialog]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    link.closest("details.more")?.removeAttribute("open");
    await openDialog(link);
    return;
  }
  const button = event.target.closest("button[data-command]");
  if (button) {
    event.preventDefault();
    button.closest("details.more")?.removeAttribute("open");
    await give(button.dataset.command, button.value, "", button.textContent.trim());
  }
}

async function openDialog(link) {
  try {
    const answer = await fetch(link.href, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const body = page.getElementById("confirm");
    if (!answer.ok || !body) { location.assign(link.href); return; }
    dialog.replaceChildren(document.importNode(body, true));
    dialog.querySelector("section").removeAttribute("id");
    dialog.showModal();
    dialog.querySelector("textarea")?.focus();
  } catch { location.assign(link.href); }
}

async function onSubmit(event) {
  const form = event.target;
  if (!form.dataset?.commandForm || !dialog.contains(form)) return;
  event.preventDefault();
  const values = new FormData(form);
  const word = form.querySelector("button").textContent.trim();
  dialog.close();
  await give(form.dataset.commandForm, String(values.get("verb")), String(values.get("reason") || ""), word);
}

function note(kind, text) {
  const holder = document.getElementById("notes");
  const line = document.createElement("p");
  line.className = `note note-${kind}`;
  line.textContent = text;
  holder.append(line);
  while (holder.children.length > 4) holder.firstElementChild.remove();
  return line;
}

async function give(study, verb, reason, word) {
  const line = note("wait", `${word}: asking …`);
  const say = (kind, text) => { line.className = `note note-${kind}`; line.textContent = `${word}: ${text}`; };
  try {
    const answer = await fetch(`/api/v1/studies/${encodeURIComponent(study)}/commands`, {
      method: "POST", headers: { "Content-Type": "application/json", "X-CSRFToken": token() }, body: JSON.stringify({ verb, reason }),
    });
    const body = await answer.json();
    if (!answer.ok) { say("bad", body.error.message); return; }
    say("wait", "requested");
    await follow(body.id, say, line);
  } catch { say("bad", "the dashboard does not answer; nothing was requested, or it will show in the timeline."); }
}

async function follow(id, say, line) {
  for (let i = 0; i < 60; i += 1) {
    await new Promise((done) => setTimeout(done, i < 10 ? 400 : 2000));
    const answer = await fetch(`/api/v1/commands/${id}`, { cache: "no-store" });
    if (!answer.ok) continue;
    const command = await answer.json();
    if (command.state === "done" || command.state === "refused") {
      say(command.state === "done" ? "good" : "bad", `${command.state}${command.outcome ? ` – ${command.outcome}` : ""}`);
      refreshAll();
      // the page of the study says it itself
      if (command.state === "done" && document.getElementById("region-head")) setTimeout(() => line.remove(), 2500);
      return;
    }
  }
  say("wait", "still requested; the study takes it when it can.");
}
