// Forms: confirmations, selected rows, the next runs of a schedule, and copying.
import { showTimes } from "./times.js";

export function helpWithForms() {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) {
      for (const box of document.querySelectorAll("[data-select]")) box.checked = event.target.checked;
    }
    if (event.target.matches("[data-select], [data-select-all]")) noteSelected();
  });
  document.addEventListener("renewed", noteSelected);
  previewSchedule();
}

function noteSelected() {
  const chosen = [...document.querySelectorAll("[data-select]:checked")].map((box) => box.value);
  const field = document.querySelector("[data-selected]");
  const words = document.querySelector("[data-selected-count]");
  if (field) {
    field.value = chosen.join(" ");
    field.disabled = !chosen.length;
  }
  if (words) words.textContent = chosen.length ? `${chosen.length} selected` : words.dataset.all;
}

function previewSchedule() {
  const form = document.querySelector("form[data-schedule]");
  const place = document.getElementById("preview");
  if (!form || !place) return;
  form.querySelector("[data-look]")?.parentElement.remove();
  let timer = null;
  let asked = 0;
  const look = async () => {
    const query = new URLSearchParams();
    for (const name of ["cron", "every", "times", "timezone", "start", "end"]) {
      const field = form.elements.namedItem(name);
      if (field && field.value.trim()) query.set(name, field.value.trim());
    }
    const mine = ++asked;
    try {
      const answer = await fetch(`${form.dataset.schedule}?${query}`, { redirect: "error" });
      const text = await answer.text();
      if (mine !== asked || !answer.ok) return;
      const fresh = new DOMParser().parseFromString(text, "text/html");
      place.replaceChildren(...fresh.body.childNodes);
      showTimes(place);
    } catch {
      place.textContent = "The server cannot be reached.";
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 250);
  });
  look();
}

export function addCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const text of root.querySelectorAll("pre[data-copy]")) {
    if (text.dataset.copy === "done") continue;
    text.dataset.copy = "done";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    (text.closest(".scroll") ?? text).before(button); // outside the scrolling element, so that it stays visible
  }
}
