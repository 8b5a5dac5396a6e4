"use strict";
// The page follows two kinds of server-sent events: /api/feed (status and changes) and, per view,
// /api/views/<db>/<name> (its rows, then its deltas).

const MOST_CHANGES = 60;
const MOST_ROWS = 200;
const MOST_POINTS = 120;
const MOST_CHARTS = 4;

const by = id => document.getElementById(id);
const views = new Map();

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value; else node.setAttribute(name, value);
  }
  node.append(...children.map(child => child instanceof Node ? child : document.createTextNode(String(child))));
  return node;
}

const span = ms => ms === null ? "–" : ms < 120000 ? `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`
  : ms < 7200000 ? `${Math.floor(ms / 60000)} min` : ms < 172800000 ? `${Math.floor(ms / 3600000)} h` : `${Math.floor(ms / 86400000)} d`;
const lag = item => item.lag_events || item.lag_ms ? `${show(item.lag_events)} / ${span(item.lag_ms)}` : "0";
const clock = ms => ms ? new Date(ms).toLocaleTimeString() : "–";
const show = value => value === null || value === undefined ? "–"
  : typeof value === "object" ? JSON.stringify(value)
  : typeof value === "number" ? value.toLocaleString(undefined, { maximumFractionDigits: 4 })
  : String(value);

function facts(status) {
  const entries = [
    ["version", status.version],
    ["up", `${Math.floor(status.uptime_ms / 60000)} min`],
    ["collections", status.collections],
    ["events", status.events.toLocaleString()],
    ["view lag", span(status.lag_ms)],
  ];
  by("facts").replaceChildren(...entries.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function streams(list) {
  const rows = list.map(stream => element("tr", {},
    element("td", {}, `${stream.db}.${stream.name}`, stream.paused ? " (paused)" : ""),
    element("td", {}, stream.on),
    element("td", { class: "mono" }, stream.filter ?? "–"),
    element("td", { class: "number" }, show(stream.events)),
    element("td", { class: "number" }, show(stream.rate)),
    element("td", stream.errors ? { class: "number error", title: stream.last_error ?? "" } : { class: "number" }, show(stream.errors)),
    element("td", { class: "number" }, lag(stream)),
    element("td", {}, clock(stream.last_event_ms)),
    element("td", { class: "number" }, span(stream.retention_left_ms))));
  by("streams").tBodies[0].replaceChildren(...rows);
}

function source(info) {
  by("deployment").hidden = !info;
  if (!info) return;
  const mirrors = info.mirrors.map(mirror => `${mirror.db}.${mirror.collection}: ${mirror.state}`
    + (mirror.state === "live" ? "" : ` (${show(mirror.loaded)} of about ${show(mirror.estimated)})`));
  const entries = [
    ["deployment", info.uri], ["state", info.state], ["version", info.version], ["captured", show(info.events)],
    ["lag", span(info.lag_ms)], ["history left", span(info.window_ms)], ["mirrors", mirrors.join(", ") || "–"],
    ["problem", info.problem ?? "–"],
  ];
  by("deployment-facts").replaceChildren(...entries.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function sinks(list) {
  by("delivery").hidden = list.length === 0;
  const rows = list.map(sink => element("tr", {},
    element("td", {}, `${sink.db}.${sink.name}`),
    element("td", {}, sink.source),
    element("td", { class: "mono long", title: sink.target }, sink.target),
    element("td", sink.state === "failed" ? { class: "error" } : {}, sink.state, sink.circuit_open ? " (target left alone)" : ""),
    element("td", { class: "number" }, show(sink.delivered)),
    element("td", { class: "number" }, show(sink.rate)),
    element("td", { class: "number" }, show(sink.failures)),
    element("td", { class: "number" }, show(sink.parked_keys)),
    element("td", { class: "number" }, lag(sink)),
    element("td", {}, clock(sink.last_event_ms)),
    element("td", {}, clock(sink.heartbeat_ms)),
    element("td", { class: "long", title: sink.error ?? "" }, sink.error ?? "–")));
  by("sinks").tBodies[0].replaceChildren(...rows);
}

// One view: its rows as a multiset keyed by their JSON, its charts, its table.
class View {
  constructor(info) {
    this.rows = new Map();
    this.history = new Map();
    this.pending = false;
    this.meta = element("div", { class: "meta" });
    this.charts = element("div", { class: "charts" });
    this.table = element("table", {}, element("thead"), element("tbody"));
    this.node = element("article", { class: "card" },
      element("h3", {}, `${info.db}.${info.name}`), this.meta, this.charts,
      element("div", { class: "scroll" }, this.table));
    this.source = new EventSource(`api/views/${encodeURIComponent(info.db)}/${encodeURIComponent(info.name)}`);
    this.source.addEventListener("snapshot", event => { this.rows.clear(); this.take(JSON.parse(event.data)); });
    this.source.addEventListener("delta", event => this.take(JSON.parse(event.data)));
    this.source.addEventListener("failed", event => {
      this.meta.replaceChildren(element("span", { class: "error" }, JSON.parse(event.data).message));
      this.source.close();
    });
    this.update(info);
  }

  update(info) {
    this.fields = info.fields;
    if (info.error) {
      this.meta.replaceChildren(element("span", { class: "error" }, info.error));
      return;
    }
    this.meta.textContent = `${show(info.rows)} rows · ${show(info.events)} events, ${show(info.rate)} per second · `
      + `${show(info.failures)} failures · lag ${lag(info)} · last event ${clock(info.last_event_ms)}`;
    this.table.tHead.replaceChildren(element("tr", {}, ...info.fields.map(field =>
      element("th", { class: field.numeric ? "number" : "" }, field.name))));
  }

  take(batch) {
    for (const [diff, values] of batch.rows) {
      const key = JSON.stringify(values);
      const entry = this.rows.get(key) ?? { values, count: 0 };
      entry.count += diff;
      entry.fresh = diff > 0;
      if (entry.count > 0) this.rows.set(key, entry); else this.rows.delete(key);
    }
    if (!this.pending) {
      this.pending = true;
      requestAnimationFrame(() => { this.pending = false; this.draw(); });
    }
  }

  draw() {
    const entries = [...this.rows.values()];
    const sortable = row => row.values.map(v => typeof v === "number" ? v : String(v));
    entries.sort((a, b) => {
      const [x, y] = [sortable(a), sortable(b)];
      const at = x.findIndex((v, i) => v !== y[i]);
      return at < 0 ? 0 : x[at] < y[at] ? -1 : 1;
    });
    const body = entries.slice(0, MOST_ROWS).map(entry => {
      const cells = entry.values.map((value, i) => element("td", { class: this.fields[i]?.numeric ? "number" : "" }, show(value)));
      const row = element("tr", entry.fresh ? { class: "fresh" } : {}, ...cells);
      entry.fresh = false;
      return row;
    });
    this.table.tBodies[0].replaceChildren(...body);
    this.chart(entries);
  }

  // A line per numeric column: its sum over the rows, as it moves.
  chart(entries) {
    const numeric = this.fields.map((field, i) => [field, i]).filter(([field]) => field.numeric).slice(0, MOST_CHARTS);
    for (const [field, i] of numeric) {
      const sum = entries.reduce((total, entry) => total + Number(entry.values[i] ?? 0) * entry.count, 0);
      const points = this.history.get(field.name) ?? [];
      points.push(sum);
      if (points.length > MOST_POINTS) points.shift();
      this.history.set(field.name, points);
    }
    this.charts.replaceChildren(...numeric.map(([field]) => line(field.name, this.history.get(field.name))));
  }
}

function line(name, points) {
  const [low, high] = [Math.min(...points), Math.max(...points)];
  const x = i => points.length < 2 ? 0 : i / (points.length - 1) * 100;
  const y = v => high === low ? 15 : 28 - (v - low) / (high - low) * 26;
  const path = points.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name} over time`);
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("d", path);
  svg.append(drawn);
  return element("div", { class: "chart" }, element("b", {}, show(points.at(-1))), element("span", {}, name), svg);
}

function viewCards(list) {
  const names = new Set(list.map(view => `${view.db}.${view.name}`));
  for (const [name, view] of views) {
    if (!names.has(name)) { view.source.close(); view.node.remove(); views.delete(name); }
  }
  for (const info of list) {
    const name = `${info.db}.${info.name}`;
    const known = views.get(name);
    if (known) { known.update(info); continue; }
    const view = new View(info);
    views.set(name, view);
    by("views").querySelector(".empty")?.remove();
    by("views").append(view.node);
  }
}

function change(event) {
  const row = element("tr", { class: "fresh" },
    element("td", { class: "mono" }, clock(event.wall_ms)),
    element("td", { class: `op-${event.operation}` }, event.operation),
    element("td", {}, event.namespace),
    element("td", { class: "mono" }, event.key ?? ""),
    element("td", { class: "mono" }, event.detail ?? ""));
  const body = by("changes").tBodies[0];
  body.prepend(row);
  while (body.rows.length > MOST_CHANGES) body.deleteRow(-1);
}

const feed = new EventSource("api/feed");
feed.onopen = () => { by("connection").className = "dot live"; by("connection").title = "live"; };
feed.onerror = () => { by("connection").className = "dot lost"; by("connection").title = "connection lost; trying again"; };
feed.addEventListener("status", event => {
  const status = JSON.parse(event.data);
  facts(status);
  streams(status.streams);
  sinks(status.sinks);
  source(status.source);
  viewCards(status.views);
  by("rate").textContent = `${show(status.rate)} per second`;
});
feed.addEventListener("changes", event => JSON.parse(event.data).forEach(change));
