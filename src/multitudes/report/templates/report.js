"use strict";
// Shows what the JSON block holds. Text from models and people is only ever set as textContent.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const STEP = 40;
  const nameOf = new Map(data.people.map((p) => [p.id, p.name]));
  const personOf = new Map(data.people.map((p) => [p.id, p]));

  function el(name, cls, ...children) {
    const node = document.createElement(name);
    if (cls) node.className = cls;
    for (const c of children) if (c !== null && c !== undefined && c !== "") node.append(c);
    return node;
  }
  function draw(name, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    return node;
  }
  function said(name, cls, text) {
    return el(name, (cls + " said").trim(), String(text));
  }
  /** Text with the searched words marked. */
  function marked(name, cls, text, words) {
    const node = said(name, cls, "");
    const low = text.toLowerCase();
    let at = 0;
    while (at < text.length && words.length && low.length === text.length) {
      let next = -1, size = 0;
      for (const w of words) {
        const i = low.indexOf(w, at);
        if (i >= 0 && (next < 0 || i < next)) { next = i; size = w.length; }
      }
      if (next < 0) break;
      node.append(text.slice(at, next), el("mark", "", text.slice(next, next + size)));
      at = next + size;
    }
    node.append(text.slice(at));
    return node;
  }
  /** A list that grows by steps: rows are made when they are shown, their inside when it is opened. */
  function list(box, more, make) {
    let rows = [], shown = 0;
    const grow = (to) => {
      const part = document.createDocumentFragment();
      for (; shown < Math.min(to, rows.length); shown++) part.append(make(rows[shown]));
      box.append(part);
      more.hidden = shown >= rows.length;
    };
    more.addEventListener("click", () => grow(shown + STEP));
    return { set(next) { rows = next; shown = 0; box.replaceChildren(); grow(STEP); }, reach: (i) => grow(i + 1) };
  }
  function item(cls, summary, fill) {
    const node = el("details", "item " + cls, summary);
    let full = false;
    const open = () => { if (!full) { full = true; node.append(fill()); } };
    node.addEventListener("toggle", () => { if (node.open) open(); });
    node.show = () => { open(); node.open = true; };
    return node;
  }

  // --- transcripts ---------------------------------------------------------------------------------------------
  function speaker(talk) {
    return talk.person === null ? "unknown speaker" : nameOf.get(talk.person) ?? talk.person;
  }
  function ending(talk) {
    return talk.fault ? talk.fault.kind + " fault: " + talk.fault.code : data.stops[talk.stop] ?? talk.stop;
  }
  function setUpTalks() {
    if (!$("talks")) return;
    const talks = data.talks.map((t, index) => {
      const lines = t.turns.map((u) => u.text);
      const hidden = t.turns.flatMap((u) => (u.rejected ?? []).map((d) => d.text));
      return { ...t, index, lines, redrawn: t.turns.some((u) => u.rejected), all: [speaker(t), ...lines, ...hidden].join("\n").toLowerCase() };
    });
    let words = [];
    const nodes = new Map();
    const rows = list($("talks"), $("more-talks"), (t) => { const n = talkRow(t, words); nodes.set(t.index, n); return n; });
    const options = (id, values) => { for (const [value, text] of values) $(id).append(Object.assign(el("option", "", text), { value })); };
    const tell = (get) => [...new Map(talks.map(get)).entries()].sort((a, b) => String(a[1]).localeCompare(String(b[1])));
    options("by-person", tell((t) => [t.person ?? "", speaker(t)]).filter(([v]) => v));
    options("by-scenario", tell((t) => [t.scenario ?? "", t.scenario ?? ""]).filter(([v]) => v));
    options("by-stop", tell((t) => [ending(t), ending(t)]));
    function filter() {
      words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
      const [person, scenario, stop] = ["by-person", "by-scenario", "by-stop"].map((i) => $(i).value);
      const found = talks.filter((t) =>
        (!person || t.person === person) && (!scenario || t.scenario === scenario) && (!stop || ending(t) === stop) &&
        (!$("by-redrawn").checked || t.redrawn) && words.every((w) => t.all.includes(w)));
      nodes.clear();
      rows.set(found);
      $("talk-count").textContent = found.length === talks.length ? `${talks.length} conversations` : `${found.length} of ${talks.length} conversations`;
    }
    let timer = 0;
    $("find").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 120); });
    for (const id of ["by-person", "by-scenario", "by-stop", "by-redrawn"]) $(id).addEventListener("change", filter);
    document.querySelector(".filters").addEventListener("submit", (e) => e.preventDefault());
    filter();
    /** Follow a link such as #talk-3-6 to a turn, whatever the filters say. */
    function follow() {
      const found = /^#talk-(\d+)-(\d+)$/.exec(location.hash);
      if (!found || !talks[+found[1]]) return;
      if (!nodes.has(+found[1])) {
        $("find").value = ""; $("by-redrawn").checked = false;
        for (const id of ["by-person", "by-scenario", "by-stop"]) $(id).value = "";
        filter();
        rows.reach(+found[1]);
      }
      const node = nodes.get(+found[1]);
      node.show();
      for (const old of document.querySelectorAll(".turn.here")) old.classList.remove("here");
      const turn = node.querySelectorAll(".turn")[+found[2]];
      if (turn) turn.classList.add("here");
      (turn ?? node).scrollIntoView({ block: "center" });
    }
    addEventListener("hashchange", follow);
    for (const a of document.querySelectorAll('a[href^="#talk-"]')) a.addEventListener("click", () => setTimeout(follow));
    follow();
    return (person) => { $("by-person").value = person; filter(); $("transcripts").scrollIntoView(); };
  }
  function talkRow(t, words) {
    const summary = el("summary", "", said("span", "who", speaker(t)),
      said("span", "small", [t.scenario, "run " + t.run, t.turns.length + (t.turns.length === 1 ? " turn" : " turns")].filter(Boolean).join(", ")));
    if (t.fault || t.stop === "budget") summary.append(said("span", "chip warn", ending(t)));
    else if (t.stop !== "max_turns") summary.append(el("span", "chip", ending(t)));
    if (t.redrawn) summary.append(el("span", "chip", "rejected draws"));
    const hit = words.length ? t.lines.find((l) => words.some((w) => l.toLowerCase().includes(w))) : t.lines[0];
    if (hit) {
      const first = Math.max(0, ...words.map((w) => hit.toLowerCase().indexOf(w)).filter((i) => i > 80).map((i) => i - 60));
      summary.append(marked("span", "snippet", (first ? "…" : "") + hit.slice(first, first + 240), words));
    }
    return item("talk", summary, () => talkInside(t, words));
  }
  function talkInside(t, words) {
    const box = el("div", "inside");
    const p = personOf.get(t.person);
    if (p) box.append(said("p", "about", [p.text, ...p.facts].join("\n")));
    t.turns.forEach((u, k) => {
      const by = u.who === "user" ? speaker(t) : "target";
      const turn = el("div", "turn " + u.who, said("p", "by", `${by} · turn ${k + 1}${u.ends ? " · says it is the end" : ""}`),
        u.text.trim() ? marked("p", "", u.text, words) : el("p", "small", "(said nothing)"));
      for (const g of u.guards ?? []) turn.append(said("span", "chip warn", "kept although a guard fired: " + g.replaceAll("_", " ")));
      const n = (u.rejected ?? []).length;
      if (n) {
        const fold = el("details", "", el("summary", "", n === 1 ? "1 rejected draw" : n + " rejected draws"));
        for (const d of u.rejected) {
          const draft = marked("del", "", d.text || "(empty)", words);
          draft.prepend(...d.guards.map((g) => said("span", "chip warn", g.replaceAll("_", " "))), " ");
          fold.append(draft);
        }
        fold.open = words.some((w) => !u.text.toLowerCase().includes(w) && u.rejected.some((d) => d.text.toLowerCase().includes(w)));
        turn.append(fold);
      }
      if (u.thinking) turn.append(el("details", "", el("summary", "", "thinking, never shown to the other side"), said("p", "", u.thinking)));
      box.append(turn);
    });
    if (!t.turns.length) box.append(el("p", "empty", "Nothing was said."));
    if (t.fault) box.append(said("p", "banner", `${ending(t)}${t.fault.turn === null ? "" : ", turn " + t.fault.turn}. ${t.fault.detail}`));
    for (const line of t.probes ?? []) box.append(said("p", "small", "Asked aside, " + line));
    box.append(said("p", "small", `Ended: ${ending(t)}. Id ${t.id}`));
    return box;
  }

  // --- survey --------------------------------------------------------------------------------------------------
  const pc = (v) => (2 + 96 * v).toFixed(2) + "%";
  function setUpSurvey() {
    if (!$("answers") || !data.survey) return;
    list($("answers"), $("more-answers"), surveyRow).set(data.people.map((p, index) => ({ ...p, index })));
  }
  function surveyRow(p) {
    const s = data.survey, axes = el("div", "axes");
    s.axes.forEach((axis, k) => {
      const z = s.z[p.index][k], t = s.t[p.index]?.[k] ?? null;
      const words = z === null ? "unscored" : z.toFixed(2);
      const svg = draw("svg", { class: "track", height: 18, role: "img", "aria-label": `${axis}: ${words}${t === null ? "" : ", planned " + t.toFixed(2)}` });
      svg.append(draw("line", { class: "grid", x1: "0%", x2: "100%", y1: 9, y2: 9 }));
      if (z !== null && t !== null) svg.append(draw("line", { class: "tie", x1: pc(z), x2: pc(t), y1: 9, y2: 9 }));
      if (t !== null) svg.append(draw("circle", { class: "ring", cx: pc(t), cy: 9, r: 5 }));
      if (z !== null) svg.append(draw("circle", { class: "dot accent", cx: pc(z), cy: 9, r: 4 }));
      axes.append(el("div", "", said("span", "", axis), el("b", "", words), svg));
    });
    const name = el("summary", "", said("span", "who", p.name));
    if (p.fallback) name.append(el("span", "chip warn", "written by a template"));
    name.append(axes);
    return item("asked", name, () => {
      const box = el("div", "inside", said("p", "about", [p.text, ...p.facts].join("\n")));
      for (const a of s.answers[p.index]) box.append(answerRow(a));
      if (!s.answers[p.index].length) box.append(el("p", "empty", "Not asked yet."));
      return box;
    });
  }
  function answerRow(a) {
    const s = data.survey, q = typeof a.item === "number" ? s.items[a.item] : { text: a.item, axis: "" };
    const row = el("div", "answer", el("div", "", said("span", "", q.text), said("small", "", q.axis + (q.reverse ? ", agreeing means the low end" : ""))));
    const words = a.fault ? a.fault.kind + " fault: " + a.fault.code : a.score === null ? "unscored" : "position " + a.score.toFixed(2);
    const best = a.probs ? a.probs.indexOf(Math.max(...a.probs)) : -1;
    if (a.probs) {
      const svg = draw("svg", { height: 30, role: "img", "aria-label": s.labels.map((l, i) => `${l}: ${Math.round(100 * a.probs[i])}%`).join(", ") });
      a.probs.forEach((v, i) => {
        const w = 100 / a.probs.length, h = Math.max(28 * v, 1);
        const bar = draw("rect", { class: i === best ? "p" : "p p0", x: i * w + 1 + "%", width: w - 2 + "%", y: 29 - h, height: h });
        const tip = draw("title", {});
        tip.textContent = `${s.labels[i]}: ${Math.round(100 * v)}%`;
        bar.append(tip);
        svg.append(bar);
      });
      row.append(svg);
    } else row.append(el("span", "chip warn", "no answer"));
    row.append(el("div", "", best >= 0 ? said("span", "", s.labels[best] ?? "") : "", said("small", "", words), a.text ? said("small", "", "said: " + a.text) : ""));
    return row;
  }

  // --- the map: one person in all panels -----------------------------------------------------------------------
  function setUpMap(choose) {
    const panels = document.querySelector("#map .panels");
    if (!panels) return;
    const light = (key) => {
      panels.classList.toggle("hot", key !== null);
      for (const n of panels.querySelectorAll("[data-person]")) n.classList.toggle("on", n.dataset.person === key);
    };
    panels.addEventListener("pointerover", (e) => light(e.target.dataset?.person ?? null));
    panels.addEventListener("pointerleave", () => light(null));
    panels.addEventListener("click", (e) => {
      const p = data.people[+(e.target.dataset?.person ?? -1)];
      if (p && choose && data.talks.some((t) => t.person === p.id)) choose(p.id);
    });
  }
  setUpMap(setUpTalks());
  setUpSurvey();
})();
