"use strict";
// Names a role in every picture at once: by pointer, by arrow keys, by search. Names are only ever set as textContent.
(() => {
  const $ = (id) => document.getElementById(id);
  if (!$("told")) return;
  const NEAR = 26, MOST_NAMES = 12;
  const roles = [];
  for (const node of document.querySelectorAll("svg [data-role]")) {
    const title = node.querySelector("title");
    const role = (roles[+node.dataset.role] ??= { name: node.dataset.name, family: node.dataset.family, text: title.textContent, nodes: [] });
    title.remove(); // the page names it itself
    const box = node.getBBox();
    role.nodes.push({ node, svg: node.ownerSVGElement, x: box.x + box.width / 2, y: box.y + box.height / 2 });
  }
  const order = roles.map((r, i) => i).filter((i) => roles[i]);
  let current = -1, hits = null;

  function tip(at, text) {
    const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
    const width = at.svg.viewBox.baseVal.width, right = at.x > width * 0.62;
    for (const [k, v] of Object.entries({ class: "tip", x: at.x + (right ? -10 : 10), y: at.y < 30 ? at.y + 18 : at.y - 8, "text-anchor": right ? "end" : "start" })) label.setAttribute(k, v);
    label.textContent = text;
    at.svg.append(label);
  }
  function draw() {
    for (const old of document.querySelectorAll("svg .tip")) old.remove();
    const named = current >= 0 ? [current] : hits && hits.length <= MOST_NAMES ? hits : [];
    for (const i of named) for (const at of roles[i].nodes) tip(at, roles[i].name);
    for (const i of order) for (const { node } of roles[i].nodes) node.classList.toggle("on", i === current);
    for (const box of document.querySelectorAll(".walk")) box.classList.toggle("busy", current >= 0);
    $("told").textContent = current >= 0 ? roles[current].text
      : hits ? (hits.length === 1 ? roles[hits[0]].text : `${hits.length} of ${order.length} roles`) : "";
  }
  function name(i) {
    if (i === current) return;
    current = i;
    draw();
  }
  for (const box of document.querySelectorAll(".walk")) {
    const svg = box.querySelector("svg");
    const nearest = (e) => {
      const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = -1, least = NEAR;
      for (const i of hits ?? order) for (const at of roles[i].nodes) {
        const far = at.svg === svg ? Math.hypot(at.x - p.x, at.y - p.y) : Infinity;
        if (far < least) { least = far; best = i; }
      }
      name(best);
    };
    box.addEventListener("pointermove", nearest);
    box.addEventListener("pointerdown", nearest);
    box.addEventListener("pointerleave", () => name(-1));
    box.addEventListener("blur", () => name(-1));
    box.addEventListener("keydown", (e) => {
      const all = hits && hits.length ? hits : order, at = all.indexOf(current);
      const step = { ArrowRight: at < 0 ? 0 : at - 1, ArrowUp: at < 0 ? 0 : at - 1, ArrowLeft: at + 1, ArrowDown: at + 1, Home: 0, End: all.length - 1 }[e.key];
      if (e.key === "Escape") name(-1);
      if (step === undefined) return;
      e.preventDefault();
      name(all[Math.min(Math.max(step, 0), all.length - 1)]);
    });
  }
  function sift() {
    const word = $("find").value.trim().toLowerCase(), family = $("family").value;
    hits = word || family ? order.filter((i) => (!family || roles[i].family === family) && roles[i].name.toLowerCase().includes(word)) : null;
    const kept = new Set(hits ?? order);
    for (const box of document.querySelectorAll(".walk")) box.classList.toggle("sifted", hits !== null);
    for (const i of order) for (const { node } of roles[i].nodes) node.classList.toggle("hit", kept.has(i));
    for (const row of document.querySelectorAll("tr[data-role]")) row.classList.toggle("off", !kept.has(+row.dataset.role));
    current = -1;
    draw();
  }
  $("find").addEventListener("input", sift);
  $("family").addEventListener("change", sift);
  document.querySelector(".tools").addEventListener("submit", (e) => e.preventDefault());
})();
