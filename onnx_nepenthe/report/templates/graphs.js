"use strict";
// A part of a model as a graph, laid out by dagre, top to bottom.
{
  const LINE = 15;
  const PAD = 8;
  const LONGEST = 34;
  const svg = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const textOf = (node) => {
    const first = node.kind === "value" ? [] : [node.title];
    return [...first, ...node.lines].map((line) => report.shorten(line, LONGEST));
  };

  const laidOut = (graph) => {
    const layout = new dagre.graphlib.Graph({ multigraph: true });
    layout.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 30, marginx: 2, marginy: 2 });
    graph.nodes.forEach((node, at) => {
      const lines = textOf(node);
      const width = 7 * Math.max(...lines.map((line) => line.length)) + 2 * PAD;
      layout.setNode(String(at), { width, height: LINE * lines.length + 2 * PAD - 4 });
    });
    graph.edges.forEach(([from, to, shape], at) =>
      layout.setEdge(String(from), String(to), { width: 7.2 * shape.length + 12, height: LINE, labelpos: "r", labeloffset: 6 }, String(at)));
    dagre.layout(layout);
    return layout;
  };

  const box = (node, { x, y, width, height }) => {
    const lines = textOf(node);
    const group = svg("g", { class: node.kind });
    const radius = node.kind === "value" ? height / 2 : 5;
    group.append(svg("title", {}, [node.title, ...node.lines, node.note].filter(Boolean).join("\n")));
    group.append(svg("rect", { class: "box", x: x - width / 2, y: y - height / 2, width, height, rx: radius }));
    lines.forEach((line, at) => {
      const isTitle = at === 0 && node.kind !== "value";
      const style = isTitle ? { "font-weight": 600 } : { class: "line" };
      const middle = y - height / 2 + PAD + LINE * at + 9;
      group.append(svg("text", { x, y: middle, "text-anchor": "middle", ...style }, line));
    });
    return group;
  };

  report.graph = (graph, host) => {
    const layout = laidOut(graph);
    const { width, height } = layout.graph();
    host.tabIndex = 0;
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": host.dataset.label,
    });
    const path = d3.line(({ x }) => x, ({ y }) => y).curve(d3.curveBasis);
    for (const id of layout.edges()) {
      const edge = layout.edge(id);
      picture.append(svg("path", { class: "edge", d: path(edge.points) }));
      const { x, y } = edge.points.at(-1);
      picture.append(svg("path", { class: "edge", d: `M${x - 4},${y - 6}L${x},${y}L${x + 4},${y - 6}` }));
      const shape = graph.edges[Number(id.name)][2];
      picture.append(svg("text", { class: "shape", x: edge.x - edge.width / 2 + 3, y: edge.y + 4 }, shape));
    }
    for (const at of layout.nodes()) picture.append(box(graph.nodes[Number(at)], layout.node(at)));
    host.replaceChildren(picture);
    host.classList.toggle("long", host.scrollHeight > host.clientHeight);
  };
}
