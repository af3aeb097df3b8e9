// Sifts and sorts the doubted rows of the report; all of them stand in the page.
(() => {
  const form = document.getElementById("sift");
  if (!form) return;
  const list = document.getElementById("doubts");
  const status = document.getElementById("sifted");
  const rows = [...list.children].map((item, number) => ({
    item, number, given: item.dataset.given, likelier: item.dataset.likelier, margin: Number(item.dataset.margin),
    sought: item.textContent.toLowerCase(),
  }));
  const ORDERS = {
    "": (a, b) => a.number - b.number,
    margin: (a, b) => b.margin - a.margin || a.number - b.number,
    label: (a, b) => (a.given < b.given ? -1 : a.given > b.given ? 1 : a.number - b.number),
  };
  for (const name of ["given", "likelier"]) {
    const counts = new Map();
    for (const row of rows) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
    for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      const option = document.createElement("option");
      option.textContent = `${value} (${count.toLocaleString("en")})`;
      option.value = value;
      form.elements[name].append(option);
    }
  }
  const sift = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = asked.words.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      const fits = (name) => !asked[name] || row[name] === asked[name];
      row.item.hidden = !(fits("given") && fits("likelier") && words.every((word) => row.sought.includes(word)));
      left += !row.item.hidden;
    }
    list.append(...[...rows].sort(ORDERS[asked.order]).map((row) => row.item));
    status.textContent = `${left.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", sift);
  form.addEventListener("reset", () => setTimeout(sift));
  form.addEventListener("submit", (event) => event.preventDefault());
  sift();
})();
