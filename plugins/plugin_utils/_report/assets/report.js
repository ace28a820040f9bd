// Copies commands, filters, sorts, names the pair under the pointer, and opens what is folded before it is printed.
// The page is whole without it. It writes text only, never markup.
"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const button = (text) => Object.assign(document.createElement("button"), { type: "button", textContent: text });

  const copy = async (element, done) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
    } catch {
      getSelection().selectAllChildren(element);
      document.execCommand("copy");
    }
    done.textContent = "copied";
    setTimeout(() => { done.textContent = "copy"; }, 1500);
  };
  for (const element of all(".copy")) {
    const press = button("copy");
    press.addEventListener("click", () => copy(element, press));
    element.after(" ", press);
  }

  const rows = all(".finding, main table.grid > tbody > tr");
  const texts = rows.map((row) =>
    [row.textContent, ...[row, ...all("[data-names]", row)].map((part) => part.dataset.names || "")].join(" ").toLowerCase());
  const filter = Object.assign(document.createElement("input"), { type: "search", placeholder: "Filter: node, check, word" });
  filter.setAttribute("aria-label", "Filter findings and tables");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    rows.forEach((row, number) => { row.hidden = !texts[number].includes(wanted); });
  });
  document.querySelector("nav").append(filter);

  for (const head of all("table.grid > thead th")) {
    const press = button(head.textContent);
    head.replaceChildren(press);
    press.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0];
      const down = head.getAttribute("aria-sort") === "ascending";
      const key = (row) => row.cells[head.cellIndex].textContent.trim();
      const sorted = Array.from(body.rows).sort((one, other) => key(one).localeCompare(key(other), "en", { numeric: true }));
      for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...(down ? sorted.reverse() : sorted));
    });
  }

  const names = JSON.parse(document.querySelector("main").dataset.order);
  for (const map of all("svg.square")) {
    const pair = document.createElement("p");
    pair.className = "soft";
    pair.textContent = "Point at a cell to see its nodes.";
    map.after(pair);
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect();
      const rank = (at) => Math.min(names.length - 1, Math.max(0, Math.floor(at * names.length)));
      const row = rank((event.clientY - box.top) / box.height);
      const column = rank((event.clientX - box.left) / box.width);
      pair.textContent = `${names[row]} (${row}) → ${names[column]} (${column})`;
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
