"use strict";

// Draws a flame graph, outermost frames at the top: zoom by click, search, and the keyboard.
(() => {
  const source = document.getElementById("flame-data");
  if (!source) return;
  const ROW_PX = 21;
  const MIN_PX = 1.5;
  const LABEL_PX = 26;
  const data = JSON.parse(source.textContent);
  const [graph, details, view, input, found, reset] = ["graph", "details", "view", "search", "found", "reset"].map((name) =>
    document.getElementById(`flame-${name}`),
  );
  const hint = details.textContent;
  let tree;
  let zoomed;
  let current = null;
  let elements = new Map();
  let widthPx = 0;

  function colour(frame) {
    return data.colours[frame.kind === "phase" ? `phase:${frame.name}` : frame.type] ?? data.other;
  }

  function describe(frame) {
    const { amount, percent } = FlameTree;
    const per = data.perStep;
    const each = per > 1 ? " a step" : "";
    const spans = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(frame.count / per);
    const kind = frame.type && frame.type !== frame.name && frame.kind !== "type" ? `${frame.kind}, ${frame.type}` : frame.kind;
    const parts = [
      `${amount(frame.total / per, tree.unit)}${each}, ${percent(frame.total / tree.root.total)} of all`,
      zoomed.parent ? `${percent(frame.total / zoomed.total)} of ${zoomed.label}` : "",
      frame.children.length ? `self ${amount(frame.self / per, tree.unit)}` : "",
      frame.count ? `${spans} ${spans === "1" ? "span" : "spans"}${each}` : "",
    ];
    return { title: `${frame.name} (${kind})`, figures: parts.filter(Boolean).join(" · ") };
  }

  function showDetails(frame) {
    if (!frame) {
      details.textContent = hint;
      return;
    }
    const { title, figures } = describe(frame);
    const name = document.createElement("code");
    name.textContent = title;
    details.replaceChildren(name, document.createElement("br"), figures);
  }

  function holds(outer, frame) {
    for (let each = frame; each; each = each.parent) if (each === outer) return true;
    return false;
  }

  function place(frame, left, width, widthPx) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "frame";
    element.tabIndex = -1;
    element.style.cssText = `left:${left * 100}%;width:${width * 100}%;top:${frame.depth * ROW_PX}px;--colour:${colour(frame)}`;
    element.classList.toggle("thin", widthPx < LABEL_PX);
    element.classList.toggle("match", Boolean(frame.match));
    element.classList.toggle("around", frame !== zoomed && holds(frame, zoomed));
    if (widthPx >= LABEL_PX) element.textContent = frame.label;
    const { title, figures } = describe(frame);
    element.title = `${title}\n${figures}`;
    element.setAttribute("aria-label", `${title}: ${figures}`);
    element.addEventListener("click", () => zoomTo(frame));
    element.addEventListener("focus", () => select(frame));
    element.addEventListener("pointerenter", () => showDetails(frame));
    elements.set(frame, element);
    return element;
  }

  function draw() {
    const focused = graph.contains(document.activeElement);
    widthPx = graph.clientWidth;
    elements = new Map();
    let depth = 0;
    const visit = (frame) => {
      const inside = holds(zoomed, frame);
      const left = inside ? (frame.start - zoomed.start) / zoomed.total : 0;
      const width = inside ? frame.total / zoomed.total : 1;
      if (width * widthPx < MIN_PX) return;
      if (frame.parent) {
        place(frame, left, width, width * widthPx);
        depth = Math.max(depth, frame.depth + 1);
      }
      for (const child of frame.children) if (inside || holds(child, zoomed)) visit(child);
    };
    visit(tree.root);
    graph.style.height = `${depth * ROW_PX}px`;
    graph.replaceChildren(...elements.values());
    if (!elements.has(current)) current = elements.keys().next().value ?? null;
    if (current) elements.get(current).tabIndex = 0;
    if (focused && current) elements.get(current).focus({ preventScroll: true });
    reset.disabled = zoomed === tree.root;
  }

  function zoomTo(frame) {
    zoomed = frame;
    if (frame.parent) current = frame;
    draw();
    showDetails(frame.parent ? frame : null);
  }

  function select(frame) {
    if (elements.has(current)) elements.get(current).tabIndex = -1;
    current = frame;
    elements.get(frame).tabIndex = 0;
    showDetails(frame);
  }

  function sibling(frame, direction) {
    const drawn = frame.parent.children.filter((each) => elements.has(each));
    return drawn[drawn.indexOf(frame) + direction];
  }

  const moves = {
    ArrowUp: (frame) => frame.parent,
    ArrowDown: (frame) => frame.children.find((each) => elements.has(each)),
    ArrowLeft: (frame) => sibling(frame, -1),
    ArrowRight: (frame) => sibling(frame, 1),
  };

  graph.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      zoomTo(zoomed.parent ?? tree.root);
    } else if (moves[event.key] && current) {
      const target = moves[event.key](current);
      if (elements.has(target)) elements.get(target).focus();
    } else {
      return;
    }
    event.preventDefault();
  });
  graph.addEventListener("pointerleave", () => showDetails(graph.contains(document.activeElement) ? current : null));

  function search() {
    const result = FlameTree.search(tree, input.value);
    graph.classList.toggle("searching", result.active);
    for (const [frame, element] of elements) element.classList.toggle("match", frame.match);
    const frames = result.count === 1 ? "1 frame" : `${result.count} frames`;
    found.textContent = result.active ? (result.count ? `${frames}, ${FlameTree.percent(result.share)} of all` : "Nothing matches.") : "";
  }

  function choose(index) {
    tree = FlameTree.read(data.profiles[index], data.texts);
    zoomed = tree.root;
    current = null;
    search();
    draw();
    showDetails(null);
  }

  for (const [index, profile] of data.profiles.entries()) view.add(new Option(profile.title, String(index)));
  view.addEventListener("change", () => choose(Number(view.value)));
  input.addEventListener("input", search);
  reset.addEventListener("click", () => zoomTo(tree.root));
  // Its height changes with what is drawn.
  new ResizeObserver(() => graph.clientWidth !== widthPx && draw()).observe(graph);
  choose(0);
})();
