"use strict";
for (const table of document.querySelectorAll("table.units")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, k) => {
    const cell = row.cells[k], text = cell.dataset.value ?? cell.textContent.replace("–", "");
    const number = Number(text.replaceAll(",", ""));
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  const below = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  heads.forEach((head, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((p, q) => below(value(p, k), value(q, k)));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
  const form = document.getElementById(table.dataset.filter);
  form.hidden = false;
  const input = form.querySelector("input"), said = form.querySelector("output");
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    let n = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      n += !row.hidden;
    }
    said.textContent = `${n} of ${body.rows.length} shown`;
  });
}
const regions = document.querySelectorAll(".wide");
const reachable = () => {
  for (const each of regions) each.tabIndex = each.scrollWidth > each.clientWidth ? 0 : -1;
};
reachable();
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll(".units-of > details")) each.open = true;
});
