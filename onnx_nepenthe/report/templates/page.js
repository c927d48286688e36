"use strict";
// What the charts share. Text in the data comes from models: it only ever becomes text, never markup.
const report = {
  data: JSON.parse(document.getElementById("data").textContent),
  charts: {},
  colour: { OFF: "var(--in-OFF)", ON: "var(--in-ON)", linear: "var(--in-linear)", curved: "var(--in-curved)" },
  status: { removed: "var(--is-removed)", linear: "var(--is-linear)", stays: "var(--is-stays)", bought: "var(--is-bought)" },
};

report.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

report.percent = (share) => {
  if (share > 0 && share < 0.005) return "<1 %";
  if (share > 0.995 && share < 1) return ">99 %";
  return `${Math.round(100 * share)} %`;
};

report.bits = (bits) => (bits === null ? "not counted" : `${bits.toFixed(3)} bits`);

report.shorten = (text, length) => {
  if (text.length <= length) return text;
  const tail = Math.floor(length / 2);
  return `${text.slice(0, length - tail - 1)}…${text.slice(text.length - tail)}`;
};

report.ticks = (count, width) => {
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => (count / step) * 26 < width) ?? 1000;
  return (at) => (at === 1 || at % every === 0 ? String(at) : "");
};

// One chart: drawn when it is seen first and whenever its width changes.
report.draw = (host) => {
  const isSeen = host.checkVisibility?.() ?? true;
  const width = Math.floor(host.clientWidth);
  if (!isSeen || !width || host.dataset.width === String(width)) return;
  host.dataset.width = String(width);
  const picture = report.charts[host.dataset.chart](width, host);
  for (const svg of picture.querySelectorAll("svg")) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", host.dataset.label);
  }
  host.style.minHeight = "";
  host.replaceChildren(picture);
};

report.redraw = (name) => {
  for (const host of document.querySelectorAll(`[data-chart="${name}"]`)) {
    delete host.dataset.width;
    report.draw(host);
  }
};
