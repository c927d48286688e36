"use strict";
// Charts of a collapse: rectifiers, channels, timings.
{
  const { data, charts, colour, status, percent, bits } = report;
  const kinds = Object.keys(colour);
  const style = { fontSize: "12px" };
  const inBox = (...nodes) => report.make("div", {}, ...nodes);
  const along = (width) => ({
    domain: data.layers.map((layer) => layer.at),
    label: "rectifier",
    tickSize: 0,
    tickFormat: report.ticks(data.layers.length, width),
  });
  const words = (layer) => {
    const shares = Object.entries(layer.shares ?? {}).map(([kind, share]) => `${kind} ${percent(share)}`);
    return [`${layer.at} ${report.shorten(layer.name, 40)}`, bits(layer.bits), shares.join(", "), layer.finding].join("\n");
  };
  const pick = (svg) => svg.addEventListener("click", () => svg.value && report.choose(svg.value.at - 1));
  const tip = (x, y) =>
    Plot.tip(data.layers, Plot.pointerX({ x: "at", y, title: words, lineWidth: 24, ...x }));

  charts.entropy = (width) => {
    const most = Math.max(1, ...data.layers.map((layer) => layer.bits ?? 0));
    const flat = data.layers.filter((layer) => layer.bits === 0);
    const unknown = data.layers.filter((layer) => layer.bits === null);
    const svg = Plot.plot({
      width, height: 200, marginLeft: 42, marginTop: 26, marginBottom: 36, style,
      x: along(width), y: { domain: [0, most], label: "bits", grid: true, ticks: 4 },
      marks: [
        Plot.barY(data.layers, { x: "at", y: "bits", fill: (layer) => status[layer.status] }),
        Plot.dot(flat, { x: "at", y: 0, r: 4, fill: (layer) => status[layer.status] }),
        Plot.text(unknown, { x: "at", y: 0, text: () => "?", dy: -8, fill: "currentColor" }),
        Plot.ruleY([0]),
        tip({}, (layer) => layer.bits ?? 0),
      ],
    });
    pick(svg);
    return inBox(svg);
  };

  charts.shares = (width) => {
    const stacked = data.layers.flatMap((layer) =>
      Object.entries(layer.shares ?? {}).map(([kind, share]) => ({ at: layer.at, kind, share: 100 * share })),
    );
    const svg = Plot.plot({
      width, height: 160, marginLeft: 42, marginTop: 26, marginBottom: 36, style,
      x: along(width), y: { domain: [0, 100], label: "% of observations", ticks: 3 },
      marks: [
        Plot.barY(stacked, { x: "at", y: "share", fill: (d) => colour[d.kind], order: (d) => kinds.indexOf(d.kind) }),
        Plot.ruleY([0]),
        tip({}, () => 50),
      ],
    });
    pick(svg);
    return inBox(svg);
  };

  // Shares of one channel by regime; the first is what the others leave.
  const channelsOf = (layer) => {
    const { first, others, regime, evidence } = layer.each;
    return regime.map((kind, at) => {
      const shares = {};
      if (first !== null) {
        for (const [name, list] of Object.entries(others)) shares[name] = list[at];
        shares[first] = Math.max(0, 1 - Object.values(shares).reduce((a, b) => a + b, 0));
      }
      const entropy = Object.values(shares).reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
      const ground = { p: "proved", o: "observed" }[evidence[at]] ?? "changes";
      return { at, kind, shares, entropy: first === null ? null : Math.abs(entropy), ground };
    });
  };
  const told = (channel) => {
    const shares = Object.entries(channel.shares).map(([kind, share]) => `${kind} ${percent(share)}`).join(", ");
    return [`channel ${channel.at}`, shares, bits(channel.entropy), channel.ground].filter(Boolean).join("\n");
  };

  charts.channels = (width) => {
    const layer = data.layers[report.chosen];
    const channels = channelsOf(layer);
    const columns = Math.max(1, Math.min(channels.length, Math.floor(width / 13)));
    const rows = Math.ceil(channels.length / columns);
    const most = Math.max(1, ...channels.map((channel) => channel.entropy ?? 0));
    const strip = (marks) =>
      Plot.plot({
        width: columns * 13, height: rows * 13, margin: 0, style,
        x: { axis: null, domain: d3.range(columns), padding: 0 }, y: { axis: null, domain: d3.range(rows), padding: 0 },
        marks: [
          ...marks.map(([fill, opacity]) =>
            Plot.cell(channels, { x: (c) => c.at % columns, y: (c) => Math.floor(c.at / columns), fill, fillOpacity: opacity, inset: 0.5 })),
          Plot.tip(channels, Plot.pointer({ x: (c) => c.at % columns, y: (c) => Math.floor(c.at / columns), title: told })),
        ],
      });
    const present = kinds.filter((kind) => channels.some((channel) => channel.shares[kind] !== undefined));
    const over = present.slice(1).map((kind, index) => {
      // Laid over the kinds before it, so that what shows of each is its share.
      const upTo = present.slice(0, index + 2);
      return [colour[kind], (c) => {
        const sum = upTo.reduce((total, name) => total + (c.shares[name] ?? 0), 0);
        return sum ? (c.shares[kind] ?? 0) / sum : 0;
      }];
    });
    if (channels[0]?.entropy === null) return inBox(report.make("p", {}, "Nothing was measured here."));
    return inBox(
      report.make("p", { class: "soft" }, `Regime, from ${present.join(" to ")}`),
      strip([[colour[present[0]], () => 1], ...over]),
      report.make("p", { class: "soft" }, `Entropy, from 0 (faint) to ${most.toFixed(1)} bits`),
      strip([["var(--line)", () => 0.6], ["var(--is-stays)", (c) => c.entropy / most]]),
    );
  };

  // The same as a table, made when it is asked for.
  report.channelTable = () => {
    const channels = channelsOf(data.layers[report.chosen]);
    const present = kinds.filter((kind) => channels.some((channel) => channel.shares[kind] !== undefined));
    const cells = (tag, values, scope) => values.map((value) => report.make(tag, scope ? { scope } : {}, String(value)));
    const head = report.make("tr", {}, ...cells("th", ["channel", "evidence", ...present, "entropy"], "col"));
    const body = channels.map((channel) => {
      const shares = present.map((kind) => percent(channel.shares[kind] ?? 0));
      const rest = cells("td", [channel.ground, ...shares, bits(channel.entropy)]);
      return report.make("tr", {}, report.make("th", { scope: "row" }, String(channel.at)), ...rest);
    });
    return report.make("table", {}, report.make("thead", {}, head), report.make("tbody", {}, ...body));
  };

  // Most of the values; a few stray ones would leave no room for the rest.
  const field = (values, ...more) => {
    const sorted = d3.sort(values);
    const low = Math.min(d3.quantileSorted(sorted, 0.03), ...more);
    const high = Math.max(d3.quantileSorted(sorted, 0.97), ...more);
    const room = 0.06 * (high - low || high);
    return [low - room, high + room];
  };
  const histogram = (rows, domain, width, { label, marks, colours, height, told = (name) => name }) => {
    const edges = d3.range(49).map((at) => domain[0] + ((domain[1] - domain[0]) * at) / 48);
    const names = Object.keys(colours);
    const inside = rows.filter((row) => row.value >= domain[0] && row.value <= domain[1]);
    return Plot.plot({
      width, height, marginLeft: 8, marginRight: 8, marginTop: 26, marginBottom: 36, style,
      x: { domain, label, grid: true, ticks: Math.min(10, width / 60) }, y: { axis: null },
      fy: { label: null, axis: null, domain: names, padding: 0.32 },
      marks: [
        Plot.rectY(inside, Plot.binX({ y: "count" }, { x: "value", fy: "what", fill: (d) => colours[d.what], fillOpacity: 0.75,
          thresholds: edges })),
        Plot.text(names, { fy: (d) => d, text: told, frameAnchor: "top-left", fontWeight: 600, dy: -16 }),
        Plot.ruleY(names, { fy: (d) => d, y: 0, strokeOpacity: 0.4 }),
        ...marks,
      ],
    });
  };

  charts.times = (width) => {
    const names = ["input", "result", "input again"];
    const rows = data.latency.each_ms.flatMap((each) => each.map((value, at) => ({ what: names[at], value })));
    const middles = names.map((what, at) => ({ what, value: d3.median(data.latency.each_ms, (each) => each[at]) }));
    const colours = { input: "var(--before)", result: "var(--after)", "input again": "var(--before)" };
    const marks = [Plot.ruleX(middles, { x: "value", fy: "what", strokeWidth: 2 })];
    const told = (name) => `${name}, median ${d3.format(".3r")(middles[names.indexOf(name)].value)} ms`;
    const domain = field(rows.map((row) => row.value));
    return inBox(histogram(rows, domain, width, { label: "milliseconds per call", marks, colours, height: 330, told }));
  };

  charts.ratios = (width) => {
    const { each_ms: each, low, high, control_low: least, control_high: most } = data.latency;
    const names = ["input ÷ result", "input ÷ input again (A/A control)"];
    const rows = each.flatMap(([before, after, again]) => [
      { what: names[0], value: before / after }, { what: names[1], value: before / again },
    ]);
    const bands = [{ what: names[0], low, high }, { what: names[1], low: least, high: most }];
    const colours = { [names[0]]: "var(--after)", [names[1]]: "var(--before)" };
    const marks = [
      Plot.rect(bands, { x1: "low", x2: "high", fy: "what", fill: "currentColor", fillOpacity: 0.18 }),
      Plot.ruleX(bands, { x: "low", fy: "what" }), Plot.ruleX(bands, { x: "high", fy: "what" }),
      Plot.ruleX([1], { strokeDasharray: "4 3", strokeWidth: 1.5 }),
    ];
    const domain = field(rows.map((row) => row.value), 1, low, high, least, most);
    return inBox(histogram(rows, domain, width, { label: "times as fast as the input →", marks, colours, height: 240 }));
  };
}
