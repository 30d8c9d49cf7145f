// Times in the viewer's zone; UTC when pointed at.
const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const format = new Intl.DateTimeFormat(undefined, options);

export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = `${at.toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
    time.textContent = format.format(at);
  }
  const zone = document.getElementById("zone");
  if (zone) zone.textContent = `${format.resolvedOptions().timeZone}; point at one to see it in UTC`;
}
