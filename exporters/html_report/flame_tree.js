"use strict";

// The flame graphs' data: trees of frames with their places, and figures as text.
const FlameTree = (() => {
  const TIMES = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const SIZES = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];

  function threeFigures(value) {
    return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
  }

  // These three write figures as deepseek_prof/text.py does.
  function duration(ns) {
    if (ns >= 120e9) {
      const seconds = Math.round(ns / 1e9);
      return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
    }
    if (ns <= 0) return "0";
    const [scale, unit] = TIMES.find(([each]) => ns >= each * 0.9995) ?? TIMES[TIMES.length - 1];
    return `${threeFigures(ns / scale)} ${unit}`;
  }

  function size(bytes) {
    const found = SIZES.find(([scale]) => bytes >= scale);
    return found ? `${threeFigures(bytes / found[0])} ${found[1]}` : `${bytes.toFixed(0)} B`;
  }

  function percent(share) {
    if (share > 0 && share < 0.0005) return "<0.1 %";
    return share >= 0.0995 || share === 0 ? `${(share * 100).toFixed(0)} %` : `${(share * 100).toFixed(1)} %`;
  }

  function amount(value, unit) {
    return unit === "bytes" ? size(value) : duration(value);
  }

  // What tells a frame from those around it: a layer's name without the layer around, an operator's without namespace.
  function shortName(frame) {
    if (frame.kind !== "layer") return frame.name.replace(/^(autograd::engine::evaluate_function: )?(aten::)?(?=.)/, "");
    for (let around = frame.parent; around; around = around.parent) {
      if (around.kind !== "layer") continue;
      return frame.name.startsWith(`${around.name}.`) ? frame.name.slice(around.name.length + 1) : frame.name;
    }
    return frame.name;
  }

  // `start` and `total` are in the profile's unit; `self` is what no frame inside covers.
  function read(profile, texts) {
    const root = { name: profile.title, kind: "all", type: "", total: profile.whole, start: 0, depth: -1, parent: null, children: [], count: 0 };
    const around = [root];
    const frames = [];
    for (let index = 0; index < profile.depth.length; index += 1) {
      const depth = profile.depth[index];
      around.length = depth + 1;
      const parent = around[depth];
      const before = parent.children[parent.children.length - 1];
      const frame = {
        name: texts[profile.name[index]],
        kind: texts[profile.kind[index]],
        type: texts[profile.type[index]],
        total: profile.total[index],
        count: profile.count[index],
        start: before ? before.start + before.total : parent.start,
        depth,
        parent,
        children: [],
      };
      frame.label = shortName(frame);
      parent.children.push(frame);
      around.push(frame);
      frames.push(frame);
    }
    for (const frame of [root, ...frames]) frame.self = frame.total - frame.children.reduce((sum, child) => sum + child.total, 0);
    return { root, frames, unit: profile.unit };
  }

  // Marks the frames that hold every word; what stands in a marked frame is not counted again.
  function search(tree, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const result = { active: words.length > 0, count: 0, share: 0 };
    let until = -Infinity;
    for (const frame of tree.frames) {
      const where = `${frame.name} ${frame.type}`.toLowerCase();
      frame.match = result.active && words.every((word) => where.includes(word));
      if (!frame.match) continue;
      result.count += 1;
      if (frame.start < until) continue;
      result.share += frame.total / tree.root.total;
      until = frame.start + frame.total;
    }
    return result;
  }

  return { amount, duration, percent, read, search, size };
})();
