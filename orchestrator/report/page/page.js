"use strict";
(() => {
  const body = document.querySelector("#targets tbody");
  const box = document.querySelector("#filter");
  const shown = document.querySelector("#shown");
  const tiles = [...document.querySelectorAll("#tiles button")];
  const rows = [...body.rows].map((row) => ({ row, kind: row.dataset.kind, text: row.textContent.toLowerCase() }));
  let kind = "";

  // Every word must occur, in any order.
  const show = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const one of rows) {
      const fits = (!kind || one.kind === kind) && words.every((word) => one.text.includes(word));
      one.row.hidden = !fits;
      count += fits;
    }
    shown.textContent = count === rows.length ? "" : `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  };

  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      kind = tile.dataset.kind === kind ? "" : tile.dataset.kind;
      for (const other of tiles) other.setAttribute("aria-pressed", String(other.dataset.kind === kind));
      show();
    });
  }
  box.addEventListener("input", show);

  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = new Intl.Collator("en", { numeric: true }).compare;
  document.querySelectorAll("#targets th").forEach((head, column) => {
    head.dataset.sort = "";
    head.title = "sort";
    head.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sorted = [...rows].sort((a, b) => order(value(a.row, column), value(b.row, column)) * (descending ? -1 : 1));
      body.append(...sorted.map((one) => one.row));
    });
  });
})();
