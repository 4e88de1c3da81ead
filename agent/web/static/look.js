// Theme and density change at once; the server keeps them in a cookie.
export function startLook() {
  for (const form of document.querySelectorAll("form[data-look]")) {
    form.addEventListener("click", async (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      event.preventDefault();
      const name = form.dataset.look;
      document.documentElement.dataset[name] = button.value;
      for (const other of form.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      const body = new FormData(form);
      body.set(name, button.value);
      await fetch(form.action, { method: "POST", body, redirect: "manual" });
    });
  }
}
