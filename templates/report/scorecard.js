"use strict";
// Filters the rows of the page. What is asked for stands in the address after #, so that a link shows the same rows.
(() => {
  const STEP = 25;
  const form = document.getElementById("filter");
  const status = document.getElementById("status");
  const more = document.getElementById("more");
  const rows = Array.from(document.querySelectorAll("article.row"), (card) => ({
    card,
    kinds: card.dataset.kinds.split(" ").map((kind) => kind.split(".")),
    within: card.dataset.within.split(" "),
    text: null,
  }));
  const names = ["q", "system", "form", "outcome", "slice"];
  let limit = STEP;

  const matches = (row, asked, words) => {
    const kinds = asked.system === "" ? row.kinds : [row.kinds[Number(asked.system)]];
    const right = kinds.filter((kind) => kind[1] === "1").length;
    if (asked.outcome === "differ" && (right === 0 || right === kinds.length)) return false;
    const outcome = { right: "1", wrong: "0" }[asked.outcome];
    if (!kinds.some((kind) => (!asked.form || kind[0] === asked.form) && (!outcome || kind[1] === outcome))) return false;
    if (asked.slice !== "" && !row.within.includes(asked.slice)) return false;
    if (words.length === 0) return true;
    row.text ??= [...row.card.children] // other rows' words are not its own
      .filter((part) => !part.matches(".taught")).map((part) => part.textContent).join("\n").toLowerCase();
    return words.every((word) => row.text.includes(word));
  };

  const highlight = (words) => {
    if (!CSS.highlights) return;
    const ranges = [];
    for (const { card } of words.length ? rows : []) {
      if (card.hidden || card.classList.contains("later")) continue;
      const walker = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode.data.toLowerCase();
        if (text.length !== walker.currentNode.length) continue; // folding has moved the places
        for (const word of words) {
          for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
            const range = new Range();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + word.length);
            ranges.push(range);
          }
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges.slice(0, 2000)));
  };

  const apply = () => {
    const asked = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    const words = asked.q.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const found = matches(row, asked, words);
      count += found;
      row.card.hidden = !found;
      row.card.classList.toggle("later", found && count > limit);
    }
    status.textContent = `${count} of ${rows.length} rows` + (count > limit ? `; the first ${limit} are shown` : "");
    more.hidden = count <= limit;
    highlight(words);
    return asked;
  };

  const changed = () => {
    limit = STEP;
    const asked = Object.entries(apply()).filter(([, value]) => value !== "");
    history.replaceState(null, "", "#" + new URLSearchParams(asked));
  };

  const fromAddress = () => {
    const address = location.hash.slice(1);
    const row = /^row-\d+$/.test(address) && document.getElementById(address);
    if (!row && !names.some((name) => address.startsWith(`${name}=`) || address.includes(`&${name}=`))) return;
    const asked = new URLSearchParams(row ? "" : address);
    for (const name of names) form.elements[name].value = asked.get(name) ?? "";
    limit = row ? Math.max(STEP, rows.findIndex((each) => each.card === row) + 1) : STEP;
    apply();
    (row || document.getElementById("answers")).scrollIntoView();
  };

  form.hidden = false;
  form.addEventListener("input", changed);
  form.addEventListener("reset", () => setTimeout(changed));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    limit += STEP;
    apply();
  });
  addEventListener("hashchange", fromAddress);
  apply();
  fromAddress();
})();
