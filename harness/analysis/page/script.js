"use strict";
// Sorting and filtering of tables, and figures that can be enlarged. Without it the page is the same, less these.

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, body, head, column));
  });
}

function sort(table, body, head, column) {
  const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => ({ row, cell: row.cells[column] }));
  const numeric = rows.some(({ cell }) => cell.dataset.value !== undefined);
  rows.sort((a, b) => (numeric ? byNumber(a.cell, b.cell, sign) : sign * byText(a.cell, b.cell)));
  body.append(...rows.map(({ row }) => row));
}

// What has no number goes last, whichever way.
function byNumber(a, b, sign) {
  const x = a.dataset.value, y = b.dataset.value;
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  return sign * (Number(x) - Number(y));
}

function byText(a, b) {
  return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const body = document.getElementById(input.dataset.filters).tBodies[0];
  const count = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
  input.closest(".filter").hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${body.rows.length}` : "";
  });
}

const dialog = document.getElementById("enlarged");
for (const image of document.querySelectorAll("figure img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "zoom";
  button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = dialog.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    dialog.showModal();
  });
}
