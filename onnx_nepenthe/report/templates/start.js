"use strict";
// Draws what is seen, and wires what can be operated.
{
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(report.draw);
  const observer = new ResizeObserver(() => requestAnimationFrame(drawAll));
  observer.observe(document.body);
  document.addEventListener("toggle", drawAll, true);

  // Channels of the chosen rectifier.
  const select = document.getElementById("layer");
  const table = document.getElementById("channel-table");
  report.chosen = 0;
  const fillTable = () => table?.open && table.querySelector("div").replaceChildren(report.channelTable());
  const show = () => {
    const layer = report.data.layers[report.chosen];
    document.getElementById("layer-words").textContent = `${layer.op}; ${layer.finding}; ${report.bits(layer.bits)}`;
    report.redraw("channels");
    fillTable();
  };
  report.choose = (at) => {
    report.chosen = at;
    select.value = String(at);
    document.getElementById("by-channel").open = true;
    show();
  };
  if (select) {
    select.addEventListener("change", () => report.choose(Number(select.value)));
    table.addEventListener("toggle", fillTable);
    show();
  }

  // Regions are drawn when they are opened.
  const drawRegion = (details) => {
    if (!details.open || details.dataset.drawn) return;
    details.dataset.drawn = "yes";
    const region = report.data.regions[Number(details.dataset.region)];
    for (const host of details.querySelectorAll(".graph")) report.graph(region[host.dataset.side], host);
  };
  for (const details of document.querySelectorAll("details.region")) {
    details.addEventListener("toggle", () => drawRegion(details));
    drawRegion(details);
  }

  // Refusals by words and by remedy.
  const text = document.getElementById("refusal-text");
  const remedy = document.getElementById("refusal-remedy");
  const filter = () => {
    const all = [...document.querySelectorAll(".refusal")];
    for (const item of all) {
      const isNamed = item.textContent.toLowerCase().includes(text.value.trim().toLowerCase());
      const isHelped = !remedy.value || item.dataset.remedies.split("|").includes(remedy.value);
      item.hidden = !(isNamed && isHelped);
    }
    const left = all.filter((item) => !item.hidden).length;
    document.getElementById("refusal-count").textContent = `${left} of ${all.length} reasons`;
  };
  if (text) {
    text.addEventListener("input", filter);
    remedy.addEventListener("change", filter);
    filter();
  }
  drawAll();
}
