document.documentElement.classList.add("js");
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), row = head.parentNode, body = head.closest("table").tBodies[0];
    const column = [...row.children].indexOf(head), up = head.getAttribute("aria-sort") === "descending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = line => (line.children[column] || {dataset: {}}).dataset.sort;
    const missing = value => value === undefined || value === "";
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    });
    body.append(...rows);
  });
}
const picker = document.getElementById("method");
if (picker) {
  const choose = () => {
    for (const pair of document.querySelectorAll(".pair")) pair.hidden = picker.value !== "" && pair.dataset.method !== picker.value;
    for (const box of document.querySelectorAll(".answers")) box.classList.toggle("all", picker.value === "");
  };
  picker.closest(".picker").hidden = false;
  picker.addEventListener("change", choose);
  choose();
}
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById(button.dataset.of);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
