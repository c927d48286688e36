"use strict";
// Charts of a pruning and of a Pareto front.
{
  const { data, charts } = report;
  const style = { fontSize: "12px" };
  const inBox = (...nodes) => report.make("div", {}, ...nodes);
  const numbers = () => data.rounds.map((round) => round.at);
  const name = (at) => data.rounds[at].name;
  const line = (width, height, key, { label, marks = [], told, scale = 1 }) => {
    const at = { x: "at", y: (round) => scale * round[key] };
    return inBox(Plot.plot({
      width, height, marginLeft: 46, marginTop: 26, marginBottom: 36, style,
      x: { domain: numbers(), tickFormat: name, label: "round", type: "point", padding: 0.3 }, y: { label, grid: true, ticks: 4, nice: true },
      marks: [
        ...marks,
        Plot.line(data.rounds.filter((round) => round.kept), { ...at, stroke: "var(--after)", strokeWidth: 2 }),
        Plot.dot(data.rounds, { ...at, r: 5, stroke: "var(--after)", fill: (round) => (round.kept ? "var(--after)" : "var(--page)") }),
        Plot.tip(data.rounds, Plot.pointerX({ ...at, title: told })),
      ],
    }));
  };

  charts.accuracy = (width) =>
    line(width, 200, "accuracy", {
      label: "% right", scale: 100,
      marks: [Plot.ruleY([100 * data.theta], { strokeDasharray: "4 3" })],
      told: (round) => `round ${round.name}: ${(100 * round.accuracy).toFixed(2)} %${round.kept ? "" : ", not kept"}`,
    });

  charts.pq = (width) =>
    line(width, 170, "pq_index", { label: "PQ index", told: (round) => `round ${round.name}: ${round.pq_index.toFixed(3)}` });

  charts.rounds = (width) => {
    const cells = data.sites.flatMap((site) =>
      site.bits.map((bits, at) => ({ site, round: at, bits, state: site.states[at] })));
    const known = cells.filter((cell) => cell.bits !== null);
    const most = Math.max(1, ...known.map((cell) => cell.bits));
    const left = Math.min(150, 20 + 7 * Math.max(...data.sites.map((site) => Math.min(18, site.label.length))));
    const at = { x: "round", y: (cell) => cell.site.at };
    const label = new Map(data.sites.map((site) => [site.at, report.shorten(site.label, 18)]));
    return inBox(Plot.plot({
      width, height: 40 + 20 * data.sites.length, marginLeft: left, marginTop: 4, marginBottom: 34, style,
      x: { domain: numbers(), tickFormat: name, label: "round", padding: 0.06, tickSize: 0 },
      y: { domain: data.sites.map((site) => site.at), label: null, padding: 0.12, tickSize: 0, tickFormat: (d) => label.get(d) },
      marks: [
        Plot.cell(known, { ...at, fill: "var(--line)", fillOpacity: 0.5 }),
        Plot.cell(known, { ...at, fill: "var(--is-stays)", fillOpacity: (cell) => cell.bits / most }),
        Plot.text(cells.filter((cell) => cell.state === "linear"), { ...at, text: () => "✓", fill: "currentColor", fontWeight: 700 }),
        Plot.tip(known, Plot.pointer({ ...at, title: (cell) =>
          [cell.site.label, `round ${name(cell.round)}: ${report.bits(cell.bits)}`, cell.state].filter(Boolean).join("\n") })),
      ],
    }));
  };

  charts.robustness = (width) => {
    const models = Object.keys(data.robustness[0].accuracy);
    const colours = ["var(--before)", "var(--is-stays)", "var(--after)"];
    const rows = data.robustness.flatMap(({ what, accuracy }) =>
      models.map((model) => ({ what, model, value: 100 * accuracy[model] })));
    const key = report.make("ul", { class: "key", "aria-label": "Colours" }, ...models.map((model, at) => {
      const dot = report.make("span", { class: "dot", style: `background: ${colours[at]}` });
      return report.make("li", {}, dot, model);
    }));
    return inBox(key, Plot.plot({
      width, height: 40 + 14 * rows.length, marginLeft: 118, marginTop: 4, marginBottom: 34, style,
      x: { domain: [0, 100], label: "% right", grid: true }, y: { axis: null, domain: models },
      fy: { label: null, domain: data.robustness.map((row) => row.what), padding: 0.25 },
      marks: [
        Plot.axisFy({ anchor: "left", label: null, textAnchor: "end" }),
        Plot.barX(rows, { x: "value", y: "model", fy: "what", fill: (d) => colours[models.indexOf(d.model)] }),
        Plot.tip(rows, Plot.pointer({ x: "value", y: "model", fy: "what", title: (d) => `${d.model}, ${d.what}: ${d.value.toFixed(2)} %` })),
        Plot.ruleX([0]),
      ],
    }));
  };

  charts.front = (width) => {
    const { points, metric, input } = data.front;
    const told = (p) => `${p.file}\n${p.speedup.toFixed(2)}× as fast (${p.low.toFixed(2)} to ${p.high.toFixed(2)})\n` +
      `${metric} ${p.value.toFixed(2)} (${p.worst.toFixed(2)} to ${p.best.toFixed(2)})`;
    const numbered = points.map((point, at) => ({ ...point, at }));
    return inBox(Plot.plot({
      width, height: 360, marginLeft: 50, marginTop: 26, marginBottom: 38, style,
      x: { label: "times as fast as the input →", grid: true, nice: true }, y: { label: `↑ ${metric}, points`, grid: true, nice: true },
      marks: [
        Plot.dot([{ x: 1, y: input }], { x: "x", y: "y", r: 7, stroke: "var(--soft)", strokeWidth: 2 }),
        Plot.ruleY(numbered, { y: "value", x1: "low", x2: "high", stroke: "var(--accent)", strokeOpacity: 0.5, strokeWidth: 2 }),
        Plot.ruleX(numbered, { x: "speedup", y1: "worst", y2: "best", stroke: "var(--accent)", strokeOpacity: 0.5, strokeWidth: 2 }),
        Plot.dot(numbered, { x: "speedup", y: "value", r: 9, fill: "var(--accent)" }),
        Plot.text(numbered, { x: "speedup", y: "value", text: (p) => String(p.at), fill: "var(--page)", fontWeight: 700 }),
        Plot.tip(numbered, Plot.pointer({ x: "speedup", y: "value", title: told })),
      ],
    }));
  };
}
