"use strict";
// Searches the rejected rows that lie packed in the page. A row's text is only ever given to textContent. What is asked
// for stands in the address after #, so that a link shows the same rows.
(async () => {
  const HEIGHT = 56; // of a line of the list, as report.css has it
  const SPARE = 8; // lines beyond what is seen
  const MOST_CELLS = 4e6; // compared words of two texts
  const packed = document.getElementById("packed");
  if (!packed || !globalThis.DecompressionStream) return;
  const [form, status, list, dialog, box] = ["search", "status", "list", "dialog", "row"].map((id) => document.getElementById(id));
  const lines = list.querySelector("ol");
  const names = ["q", "stage", "reason", "order"];

  const element = (tag, text = "", className = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const unpacked = async () => {
    const text = atob(packed.content.textContent);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };

  const { kinds, files, rows: given } = await unpacked();
  const rows = given.map(([kind, file, row, text, target, evidence, like], number) => ({
    number, text, target, evidence,
    stage: kinds[kind][0],
    reason: kinds[kind][1],
    place: `${files[file]}, row ${row}`,
    like: typeof like === "number" ? given[like][6] : like,
    sought: "",
  }));
  for (const row of rows) row.sought = [row.text, row.target, row.evidence, row.place].join("\n").toLowerCase();
  let shown = rows;
  let open = -1;

  const ORDERS = {
    "": (a, b) => a.number - b.number,
    reason: (a, b) => (a.reason < b.reason ? -1 : a.reason > b.reason ? 1 : a.number - b.number),
    longest: (a, b) => b.text.length - a.text.length || a.number - b.number,
    shortest: (a, b) => a.text.length - b.text.length || a.number - b.number,
    text: (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.number - b.number),
  };
  const sorted = new Map([["", rows]]);
  const inOrder = (order) => {
    if (!sorted.has(order)) sorted.set(order, rows.toSorted ? rows.toSorted(ORDERS[order]) : [...rows].sort(ORDERS[order]));
    return sorted.get(order);
  };

  // Only the lines that are seen, and a few around them, are in the page.
  const drawn = new Map();
  const line = (at) => {
    const row = shown[at];
    const item = element("li");
    item.style.top = `${at * HEIGHT}px`;
    item.setAttribute("aria-setsize", shown.length);
    item.setAttribute("aria-posinset", at + 1);
    const button = element("button");
    button.type = "button";
    const what = element("span", "", "line what");
    what.append(element("b", row.reason), ` · ${row.stage} · ${row.place}`);
    button.append(what, element("span", row.text.slice(0, 300) || row.evidence.slice(0, 300), "line"));
    button.addEventListener("click", () => show(at));
    item.append(button);
    return item;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE);
    for (const [at, item] of drawn) {
      if (at < first || at >= last) {
        item.remove();
        drawn.delete(at);
      }
    }
    for (let at = first; at < last; at += 1) {
      if (!drawn.has(at)) {
        drawn.set(at, line(at));
        lines.append(drawn.get(at));
      }
    }
  };

  const apply = () => {
    const asked = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    const words = asked.q.toLowerCase().split(/\s+/).filter(Boolean);
    shown = inOrder(asked.order).filter((row) => (!asked.stage || row.stage === asked.stage)
      && (!asked.reason || row.reason === asked.reason) && words.every((word) => row.sought.includes(word)));
    status.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    for (const item of drawn.values()) item.remove();
    drawn.clear();
    lines.style.height = `${shown.length * HEIGHT}px`;
    list.scrollTop = 0;
    draw();
    return asked;
  };

  // Words that differ: the ends that are the same aside, by the longest common subsequence.
  const cut = (text) => text.match(/[\p{L}\p{N}_]+|\s+|[^]/gu) ?? [];
  const differences = (one, other) => {
    const [a, b] = [cut(one), cut(other)];
    let begin = 0;
    while (begin < a.length && begin < b.length && a[begin] === b[begin]) begin += 1;
    let end = 0;
    while (end < a.length - begin && end < b.length - begin && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const [n, m] = [a.length - begin - end, b.length - begin - end];
    const same = [new Set(), new Set()];
    for (const [side, words] of [a, b].entries()) {
      for (let at = 0; at < begin; at += 1) same[side].add(at);
      for (let at = words.length - end; at < words.length; at += 1) same[side].add(at);
    }
    if (n * m <= MOST_CELLS) {
      const best = new Uint16Array((n + 1) * (m + 1));
      for (let i = n - 1; i >= 0; i -= 1) {
        for (let j = m - 1; j >= 0; j -= 1) {
          best[i * (m + 1) + j] = a[begin + i] === b[begin + j] ? best[(i + 1) * (m + 1) + j + 1] + 1
            : Math.max(best[(i + 1) * (m + 1) + j], best[i * (m + 1) + j + 1]);
        }
      }
      for (let i = 0, j = 0; i < n && j < m;) {
        if (a[begin + i] === b[begin + j]) {
          same[0].add(begin + i++);
          same[1].add(begin + j++);
        } else if (best[(i + 1) * (m + 1) + j] >= best[i * (m + 1) + j + 1]) i += 1;
        else j += 1;
      }
    }
    return [[a, same[0]], [b, same[1]]];
  };
  const marked = ([words, same], className) => {
    const made = element("pre");
    for (let at = 0; at < words.length;) {
      let end = at;
      while (end < words.length && same.has(end) === same.has(at)) end += 1;
      const text = words.slice(at, end).join("");
      made.append(same.has(at) ? text : element("mark", text, className));
      at = end;
    }
    return made;
  };

  const side = (title, content, target) => {
    const made = element("div");
    made.append(element("h3", title), content);
    if (target) made.append(element("code", target));
    return made;
  };
  const show = (at) => {
    open = at;
    const row = shown[at];
    document.getElementById("title").textContent = `${row.stage}: ${row.reason}`;
    box.replaceChildren();
    if (row.like) {
      const [file, number, text, target, fate] = row.like;
      const [mine, theirs] = differences(row.text, text);
      const pair = element("div", "", "pair");
      pair.append(side(row.place, marked(mine), row.target),
        side(`like ${files[file]}, row ${number}, ${fate ? `quarantined later (${fate})` : "which is kept"}`, marked(theirs, "new"), target));
      box.append(pair);
    } else box.append(side(row.place, element("pre", row.text), row.target));
    box.append(element("h3", "Evidence"));
    const facts = element("dl", "", "facts");
    let evidence = { evidence: row.evidence };
    try {
      evidence = JSON.parse(row.evidence);
    } catch { /* it was too long, and is cut */ }
    for (const [name, value] of Object.entries(evidence)) {
      facts.append(element("dt", name), element("dd", typeof value === "string" ? value : JSON.stringify(value)));
    }
    box.append(facts);
    document.getElementById("earlier").disabled = at === 0;
    document.getElementById("later").disabled = at === shown.length - 1;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };

  const changed = () => {
    const asked = Object.entries(apply()).filter(([, value]) => value !== "");
    history.replaceState(null, "", "#" + new URLSearchParams(asked));
  };
  const fromAddress = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!names.some((name) => asked.has(name))) return;
    for (const name of names) form.elements[name].value = asked.get(name) ?? "";
    apply();
    document.getElementById("rejected").scrollIntoView();
  };

  for (const name of ["stage", "reason"]) {
    const counts = new Map();
    for (const row of rows) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
    for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      const option = element("option", `${value} (${count.toLocaleString("en")})`);
      option.value = value;
      form.elements[name].append(option);
    }
  }
  form.hidden = list.hidden = false;
  document.getElementById("first").hidden = document.getElementById("without").hidden = true;
  for (const each of document.querySelectorAll(".to-search")) each.hidden = false;
  form.addEventListener("input", changed);
  form.addEventListener("reset", () => setTimeout(changed));
  form.addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("scroll", draw);
  addEventListener("resize", draw);
  document.getElementById("earlier").addEventListener("click", () => show(open - 1));
  document.getElementById("later").addEventListener("click", () => show(open + 1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  addEventListener("hashchange", fromAddress);
  apply();
  fromAddress();
})();
