// The form of a new task: choosing a type shows the fields of its payload, as the button does.
export function helpWithPayloads() {
  const button = document.querySelector("[data-type-chosen]");
  const field = document.getElementById("f-task_type");
  if (!button || !field) return;
  let shown = field.value.trim();
  field.addEventListener("change", () => {
    const chosen = field.value.trim();
    const known = [...document.querySelectorAll("#types option")].some((one) => one.value === chosen);
    if (!known || chosen === shown) return;
    shown = chosen;
    field.form.requestSubmit(button);
  });
}
