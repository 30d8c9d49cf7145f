// Times in the viewer's zone; UTC when pointed at.
const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const format = new Intl.DateTimeFormat(undefined, options);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const zone = format.resolvedOptions().timeZone;
const UTC = ["UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"];

export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = `${at.toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
    time.textContent = format.format(at);
  }
  for (const mark of root.querySelectorAll("[data-at]")) mark.textContent = clock.format(new Date(mark.dataset.at));
  const place = document.getElementById("zone");
  if (place) place.textContent = UTC.includes(zone) ? "UTC" : `${zone}; point at one to see it in UTC`;
}
