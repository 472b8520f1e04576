"use strict";

// Sorting, filtering and folding of the tables, which stand complete in the page.
(() => {
  const SHOWN_ROWS = 15;
  const TREE_ROWS = 30;
  const NOT_WORTH_HIDING = 5;

  const number = new Intl.NumberFormat("en");

  function readRows(box) {
    return [...box.querySelectorAll("tbody tr")].map((element, order) => ({
      element,
      order,
      depth: Number(element.dataset.depth),
      text: element.querySelector("th").title.toLowerCase() + " " + element.querySelector("th").textContent.toLowerCase(),
      name: element.querySelector("th").title,
      values: [...element.querySelectorAll("td")].map((cell) => Number(cell.dataset.v)),
      parent: null,
      children: [],
      open: true,
    }));
  }

  function linkTree(rows) {
    const around = [];
    const roots = [];
    for (const row of rows) {
      around.length = row.depth;
      row.parent = around[row.depth - 1] ?? null;
      (row.parent ? row.parent.children : roots).push(row);
      around.push(row);
    }
    return roots;
  }

  // Open as many levels as give a table that is read at a glance.
  function foldDeepLevels(rows) {
    let levels = 1;
    while (rows.some((row) => row.depth === levels) && rows.filter((row) => row.depth <= levels).length <= TREE_ROWS) levels += 1;
    for (const row of rows) row.open = row.depth < levels - 1;
  }

  function comparison(sort) {
    if (sort.column === null) return (a, b) => a.order - b.order;
    const sign = sort.descending ? -1 : 1;
    if (sort.column < 0) return (a, b) => sign * a.name.localeCompare(b.name, "en", { numeric: true }) || a.order - b.order;
    return (a, b) => sign * (a.values[sort.column] - b.values[sort.column]) || a.order - b.order;
  }

  function enhance(box) {
    const tree = box.classList.contains("tree");
    const rows = readRows(box);
    const roots = tree ? linkTree(rows) : rows;
    const body = box.querySelector("tbody");
    const input = box.querySelector("input");
    const more = box.querySelector(".more");
    const found = box.querySelector(".found");
    const headers = [...box.querySelectorAll("thead th")];
    const sort = { column: null, descending: true };
    const limit = tree ? TREE_ROWS : SHOWN_ROWS;
    let whole = false;

    function admitted() {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      if (!words.length) return null;
      const kept = new Set();
      for (const row of rows) {
        if (!words.every((word) => row.text.includes(word))) continue;
        row.matches = true;
        for (let each = row; each && !kept.has(each); each = each.parent) kept.add(each);
      }
      return kept;
    }

    function inOrder(kept) {
      const compare = comparison(sort);
      const listed = [];
      const visit = (siblings) => {
        for (const row of [...siblings].sort(compare)) {
          if (kept && !kept.has(row)) continue;
          listed.push(row);
          if (row.children.length && (row.open || kept)) visit(row.children);
        }
      };
      visit(roots);
      return listed;
    }

    function show() {
      for (const row of rows) row.matches = false;
      const kept = admitted();
      const listed = inOrder(kept);
      const long = listed.length > limit + NOT_WORTH_HIDING;
      const shown = whole || !long ? listed : listed.slice(0, limit);
      body.replaceChildren(...shown.map((row) => row.element));
      more.hidden = !long;
      more.textContent = whole ? `Show the first ${limit}` : `Show all ${number.format(listed.length)}`;
      const matches = rows.filter((row) => row.matches).length;
      found.textContent = kept ? (matches ? `${number.format(matches)} of ${number.format(rows.length)} match` : "Nothing matches.") : "";
    }

    headers.forEach((header, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => {
        const column = place - 1;
        sort.descending = sort.column === column ? !sort.descending : column >= 0;
        sort.column = column;
        for (const each of headers) each.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
        show();
      });
      header.replaceChildren(button);
    });

    if (tree) {
      foldDeepLevels(rows);
      for (const row of rows) {
        const cell = row.element.querySelector("th");
        if (!row.children.length) {
          const space = document.createElement("i");
          space.className = "leaf";
          cell.prepend(space);
          continue;
        }
        const fold = document.createElement("button");
        fold.type = "button";
        fold.className = "fold";
        fold.setAttribute("aria-label", `Layers inside ${row.name}`);
        fold.setAttribute("aria-expanded", String(row.open));
        fold.addEventListener("click", () => {
          row.open = !row.open;
          fold.setAttribute("aria-expanded", String(row.open));
          show();
          fold.focus();
        });
        cell.prepend(fold);
      }
    }

    input.addEventListener("input", show);
    more.addEventListener("click", () => {
      whole = !whole;
      show();
    });
    show();
  }

  document.querySelectorAll("[data-table]").forEach(enhance);
})();
