"use strict";
(() => {
  const token = new URLSearchParams(location.search).get("token");
  const at = (id) => document.getElementById(id);
  const HEIGHT = 56, PAGE = 100, MORE = 6;
  const list = at("list"), lines = list.querySelector("ol");
  let total = 0, pages = new Map(), asked = 0, chosen = -1, shown = null, about = 0, editing = null, checked = 0, wanted = 0;

  async function ask(path, body) {
    const options = { headers: { "X-Assay-Token": token } };
    if (body) { options.method = "POST"; options.body = JSON.stringify(body); }
    const answer = await fetch(path, options);
    if (!answer.ok && answer.status !== 400) throw new Error(await answer.text());
    const told = await answer.json();
    if (told.error) throw new Error(`${told.error.message} ${told.error.remedy}`);
    return told;
  }
  const query = (more) => new URLSearchParams({
    kind: at("kind").value, words: at("words").value, undecided: at("undecided").checked ? "1" : "0", ...more });
  function say(text, bad) { at("said").textContent = text; at("said").classList.toggle("bad", Boolean(bad)); }
  const guarded = (work) => (...given) => work(...given).catch((error) => say(error.message, true));
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // The list: only the lines that are seen are there, and pages of them are asked for as they are scrolled to.
  async function search(keep) {
    const mine = ++asked;
    const told = await ask(`list?${query({ from: 0, count: PAGE })}`);
    if (mine !== asked) return;
    total = told.total; pages = new Map([[0, told.lines]]);
    at("status").textContent = total === 1 ? "1 row" : `${total.toLocaleString("en")} rows`;
    lines.style.height = `${total * HEIGHT}px`;
    if (!keep) { list.scrollTop = 0; chosen = -1; }
    draw();
    if (!total) { shown = null; at("shown").hidden = true; at("nothing").hidden = false; at("nothing").textContent = "Nothing is left here."; }
    else if (chosen < 0) await choose(0);
  }
  async function page(number) {
    if (pages.has(number)) return;
    pages.set(number, null);
    const mine = asked;
    const told = await ask(`list?${query({ from: number * PAGE, count: PAGE })}`);
    if (mine === asked) { pages.set(number, told.lines); draw(); }
  }
  const lineOf = (place) => (pages.get(Math.floor(place / PAGE)) || [])[place % PAGE];
  function draw() {
    const begin = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - MORE);
    const end = Math.min(total, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + MORE);
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.place : undefined;
    const made = [];
    for (let place = begin; place < end; place += 1) {
      const line = lineOf(place);
      if (!line) page(Math.floor(place / PAGE)).catch((error) => say(error.message, true));
      const item = element("li"), button = element("button");
      item.style.top = `${place * HEIGHT}px`;
      item.setAttribute("aria-setsize", total); item.setAttribute("aria-posinset", place + 1);
      button.type = "button"; button.dataset.place = place;
      if (place === chosen) button.setAttribute("aria-current", "true");
      const what = element("span", "", "line what");
      if (line) {
        what.append(element("b", line.kind), ` ${line.why}${line.decided ? " · decided" : ""}`);
        button.append(what, element("span", line.text, "line"));
      } else button.append(element("span", "…", "line"));
      item.append(button); made.push(item);
    }
    lines.replaceChildren(...made);
    if (focused !== undefined) { const again = lines.querySelector(`[data-place="${focused}"]`); if (again) again.focus({ preventScroll: true }); }
  }
  async function choose(place) {
    if (place < 0 || place >= total) return;
    chosen = place;
    if (place * HEIGHT < list.scrollTop) list.scrollTop = place * HEIGHT;
    if ((place + 1) * HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * HEIGHT - list.clientHeight;
    await page(Math.floor(place / PAGE));
    draw();
    const line = lineOf(place);
    if (line) await show(line.number);
  }

  // One case: its row, those beside it, and what may be decided.
  async function show(number) {
    const mine = ++wanted, left = stop();
    shown = null;  // nothing is decided of a row that is not seen yet, or not any more
    const told = await ask(`case?number=${number}`);
    if (mine !== wanted) return;
    shown = told; shown.number = number; about = 0;
    say(left);
    at("nothing").hidden = true; at("shown").hidden = false;
    at("what").textContent = told.title; at("why").textContent = told.why;
    at("evidence").hidden = told.told === null;
    at("evidence").querySelector("pre").textContent = JSON.stringify(told.told, null, 2);
    at("rows").replaceChildren(...told.rows.map(article), ...more(told));
    at("case").scrollTop = 0;
    decided(); marks();
  }
  function parts(found, kind) {
    const pre = element("pre");
    for (const [differs, text] of found) pre.append(differs ? element("mark", text, kind) : text);
    pre.tabIndex = 0;
    return pre;
  }
  function article(row, number) {
    const made = element("article"), kind = number ? "new" : "";
    made.dataset.row = number;
    const head = element("h3", `${number + 1}. ${row.place}`);
    made.append(head, element("p", row.where, "soft"), element("p", row.label === null ? "no label" : `label: ${row.label}`));
    made.append(element("h4", "said"), parts(row.text, kind));
    if (row.target) made.append(element("h4", "answer"), parts(row.answer, kind));
    if (shown.rows.length > 1) {
      const pick = element("button", "decide on this one");
      pick.type = "button"; pick.addEventListener("click", () => turn(number));
      made.append(pick);
    }
    return made;
  }
  function more(told) {
    const made = [];
    if (told.kind === "wrong") {
      const answered = element("article");
      answered.append(element("h3", `what ${told.told.system} answers`), parts([[false, told.told.answer]]));
      made.push(answered);
    }
    if (told.kind === "disagreement" || told.kind === "stale") {
      const words = element("article");
      words.append(element("h3", told.kind === "stale" ? "what was decided of the row before it changed" : "what was decided"));
      for (const each of told.told) words.append(element("p", `${each.who}: ${each.action} ${each.value || ""} ${each.reason}`));
      made.push(words);
    }
    return made;
  }
  function decided() {
    at("decided").replaceChildren(...shown.decided.map((each) => element("li",
      `decided: ${each.action} ${each.value === null ? "" : each.value} ${each.reason}`)));
  }
  function marks() {
    for (const each of at("rows").querySelectorAll("[data-row]")) {
      const mine = Number(each.dataset.row) === about;
      each.classList.toggle("chosen", mine && shown.rows.length > 1);
      const pick = each.querySelector("button");
      if (pick) { pick.hidden = mine; }
    }
    const pair = shown.rows.length > 1;
    for (const action of ["same", "different"]) document.querySelector(`[data-action="${action}"]`).disabled = !pair;
    document.querySelector('[data-edit="target"]').disabled = !shown.rows[about].editable;
  }
  function turn(number) {
    if (!shown || number === about || number >= shown.rows.length) return;
    const left = stop();
    about = number;
    say(left); marks();
  }
  const other = () => shown.rows[about === 0 ? 1 : 0];

  const decide = guarded(async (action, value, reason) => {
    if (!shown) return;
    const row = shown.rows[about];
    const pair = action === "same" || action === "different";
    if (pair && shown.rows.length < 2) return;
    const number = shown.number, place = chosen;
    await ask("decide", { id: row.id, action, value: pair ? other().id : value, reason });
    stop();
    if (action === "note") { say("Noted."); return; }
    made.push({ id: row.id, number });
    await Promise.all([counts(), search(true)]);
    const line = lineOf(place);
    if (total) await choose(Math.min(line && line.number === number ? place + 1 : place, total - 1));
    say(`Decided: ${action}. u takes it back.`);
  });
  const made = [];
  // What was decided last of the row that is shown; where nothing was, what was decided last of all here.
  const undo = guarded(async () => {
    const mine = shown && shown.decided[shown.decided.length - 1], before = shown && shown.number;
    const place = made.findLastIndex((each) => !mine || each.id === mine.id);
    const last = place < 0 ? null : made.splice(place, 1)[0];
    if (!mine && !last) { say("There is nothing to take back."); return; }
    await ask("decide", { id: mine ? mine.id : last.id, action: "undo" });
    await Promise.all([counts(), search(true)]);
    await show(mine ? before : last.number);
    chosen = [...pages].flatMap(([at_, some]) => (some || []).map((each, more_) => [each.number, at_ * PAGE + more_]))
      .filter(([number]) => number === shown.number).map(([, where]) => where)[0] ?? chosen;
    draw();
    say("Taken back.");
  });

  function edit(kind) {
    if (!shown) return;
    const row = shown.rows[about];
    if (kind === "target" && !row.editable) return;
    editing = { kind, row };
    at("edit").hidden = false;
    at("value-of").textContent = { target: "The answer, as JSON", label: "The label", note: "The note" }[kind];
    const long = kind !== "label";
    at("value").hidden = !long; at("line").hidden = long;
    at("value-of").htmlFor = long ? "value" : "line";
    at("value").value = kind === "target" ? row.target : ""; at("line").value = kind === "label" ? row.label || "" : "";
    at("problems").replaceChildren(); at("reason").value = ""; at("reason").disabled = kind === "note";
    at(long ? "value" : "line").focus();
  }
  // A form is of one row, and is closed with it; of what is left in it nothing is decided.
  function stop() {
    const left = editing;
    editing = null; at("edit").hidden = true;
    return left ? `The form is closed: nothing in it is decided of ${left.row.place}.` : "";
  }
  const check = guarded(async () => {
    if (!editing || editing.kind !== "target") return [];
    const mine = ++checked;
    const told = await ask("check", { value: at("value").value });
    if (mine !== checked) return told.problems;
    at("problems").replaceChildren(...told.problems.map((each) => element("li", each)));
    at("value").setAttribute("aria-invalid", told.problems.length > 0);
    return told.problems;
  });
  const counts = guarded(async () => {
    const told = await ask("counts"), before = at("kind").value;
    const all = element("option", "all"); all.value = "";
    at("kind").replaceChildren(all, ...told.kinds.map((each) => {
      const made = element("option", `${each.title} (${each.left.toLocaleString("en")} of ${each.all.toLocaleString("en")})`);
      made.value = each.kind; return made;
    }));
    at("kind").value = before;
    if (!at("labels").childElementCount) at("labels").replaceChildren(...told.labels.map((each) => {
      const made = element("option"); made.value = each; return made; }));
  });

  let waiting = 0;
  function later(work, wait) { clearTimeout(waiting); waiting = setTimeout(work, wait); }
  const look = guarded(search), pick = guarded(choose);
  at("words").addEventListener("input", () => later(look, 150));
  at("kind").addEventListener("change", () => look());
  at("undecided").addEventListener("change", () => look());
  at("search").addEventListener("submit", (event) => { event.preventDefault(); look(); });
  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", draw);
  lines.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) pick(Number(button.dataset.place));
  });
  at("actions").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.action === "undo") undo();
    else if (button && button.dataset.action) decide(button.dataset.action);
    if (button && button.dataset.edit) edit(button.dataset.edit);
  });
  at("value").addEventListener("input", () => later(check, 150));
  at("cancel").addEventListener("click", () => { stop(); at("what").focus(); });
  at("edit").addEventListener("submit", guarded(async (event) => {
    event.preventDefault();
    const mine = editing, kind = mine.kind, problems = await check();
    if (mine !== editing) return;
    if (problems.length) { at("value").focus(); return; }
    const value = { target: at("value").value, label: at("line").value || null }[kind];
    const reason = kind === "note" ? at("value").value : at("reason").value;
    at("what").focus();
    await decide(kind, value, reason);
  }));
  at("keys").addEventListener("click", () => at("help").showModal());
  at("close").addEventListener("click", () => at("help").close());
  const KEYS = {
    j: () => pick(chosen + 1), k: () => pick(chosen - 1), a: () => decide("keep"), d: () => decide("drop"), e: () => edit("target"),
    l: () => edit("label"), s: () => decide("same"), n: () => decide("different"), c: () => edit("note"), u: undo,
    "/": () => at("words").focus(), "?": () => at("help").showModal(),
  };
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape" && typing) { event.preventDefault(); if (editing) stop(); at("what").focus(); event.target.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
    if (event.key >= "1" && event.key <= "9" && shown && Number(event.key) <= shown.rows.length) { turn(Number(event.key) - 1); return; }
    if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
  });
  guarded(async () => { await counts(); await search(); })();
})();
