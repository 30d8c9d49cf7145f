// Times within pictures, in the viewer's zone: the labels of an axis and the tooltips of marks.
const day = { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const label = new Intl.DateTimeFormat(undefined, day);
const exact = new Intl.DateTimeFormat(undefined, { ...day, second: "2-digit" });

export function showMoments(root) {
  for (const one of root.querySelectorAll("[data-moment]")) {
    const at = new Date(one.dataset.moment);
    if (Number.isNaN(at.getTime())) continue;
    one.textContent = (one.localName === "title" ? exact : label).format(at) + (one.dataset.then ?? "");
  }
}
