// Filter and sort the claims that are tested. Without this script every one is there, in the order of its file.
(() => {
  "use strict";
  const tools = document.getElementById("tools");
  const table = document.getElementById("claims-table");
  if (!tools || !table) return;
  const field = (name) => tools.elements.namedItem(name);
  const claims = [...table.tBodies];
  const order = field("verdict") ? [...field("verdict").options].map((option) => option.value) : [];
  const number = (text, missing) => (text === "" || text === undefined ? missing : Number(text));

  // The row that stands for a claim in the chosen scope; none if it has no number there.
  const head = (claim, scope) => [...claim.querySelectorAll("tr.head")].find((row) => row.dataset.scope === scope);
  const keys = {
    claim: () => 0,
    verdict: (row) => order.indexOf(row.dataset.verdict),
    effect: (row) => -Math.abs(number(row.dataset.strength, 0)),
    p: (row) => number(row.dataset.p, 2),
  };

  const update = () => {
    const scope = field("scope").value, verdict = field("verdict").value;
    const words = field("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const key = keys[field("sort").value];
    const rows = new Map(claims.map((claim) => [claim, head(claim, scope)]));
    let shown = 0;
    for (const claim of claims) {
      const row = rows.get(claim), text = claim.textContent.toLowerCase();
      const fits = row && (!verdict || row.dataset.verdict === verdict) && words.every((word) => text.includes(word));
      claim.hidden = !fits;
      shown += fits ? 1 : 0;
      for (const each of claim.querySelectorAll("tr.head")) each.hidden = each !== row;
    }
    const place = (claim) => (rows.get(claim) ? key(rows.get(claim)) : Infinity);
    const sorted = claims.map((claim, index) => [place(claim), index, claim]);
    sorted.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    table.append(...sorted.map((item) => item[2]));
    document.getElementById("shown").textContent = `${shown} of ${claims.length} claims`;
  };

  tools.hidden = false;
  tools.addEventListener("input", update);
  tools.addEventListener("reset", () => setTimeout(update));
  tools.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
