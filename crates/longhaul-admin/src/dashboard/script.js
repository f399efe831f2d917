// The dashboard: asks /api/v1/overview at intervals and shows what has changed. No framework, and
// nothing of what it shows is ever taken for HTML.
"use strict";

const INTERVAL_MS = 1500;
const PATIENCE_MS = 8000;
const HISTORY = 200;

const at = (id) => document.getElementById(id);
const history = [];
let before = null;

async function ask(path, method = "GET", body) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(path, { method, headers, body, signal, cache: "no-store" });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) {
    const problem = new Error(value?.error ?? `answered ${answer.status}`);
    problem.status = answer.status;
    throw problem;
  }
  return value;
}

function say(text) {
  at("said").textContent = text;
  at("said").hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { at("said").hidden = true; }, 6000);
}

async function change(path, method, body) {
  try {
    await ask(path, method, body);
    await refresh();
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) at("ask").showModal();
    say(problem.message);
  }
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Cells are reused, so that a button is not swapped under a finger.
function fill(table, rows) {
  const body = at(table).tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, place) => {
    const line = body.rows[place] ?? body.insertRow();
    row.forEach((cell, column) => {
      const shown = line.cells[column] ?? line.insertCell();
      if (cell.act) return fillButton(shown, cell);
      const text = String(cell.text ?? cell);
      if (shown.textContent !== text) shown.textContent = text;
      shown.className = cell.kind ?? "";
    });
  });
}

function fillButton(shown, { label, title, act }) {
  let button = shown.firstElementChild;
  if (!button) {
    button = element("button");
    button.type = "button";
    shown.append(button);
  }
  if (button.textContent !== label) button.textContent = label;
  button.title = title;
  button.onclick = act;
}

const n = (text) => ({ text, kind: "n" });

function span(s) {
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

function short(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(1)} G`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)} M`;
  if (number >= 1e4) return `${(number / 1e3).toFixed(1)} k`;
  return Number.isInteger(number) ? String(number) : number.toFixed(1);
}

function rate(now, pick, per = 1) {
  if (!before) return 0;
  // After a restart it is negative, and there is nothing to compare with.
  const time = now.uptime_s - before.uptime_s;
  return time > 0 ? Math.max(0, ((pick(now) - pick(before)) / time) * per) : 0;
}

function show(now) {
  const waiting = now.waiting_for.map((one) => one.name).join(", ");
  const state = now.draining ? "draining" : !now.ready ? `not ready: ${waiting || "starting"}` : now.degraded.length ? "degraded" : "ready";
  at("state").textContent = state;
  at("state").className = `pill ${state === "ready" ? "good" : state === "degraded" ? "warn" : "bad"}`;
  at("state").title = now.degraded.join("\n");
  at("about").textContent = `version ${now.version}, up for ${span(now.uptime_s)}`;
  showFindings(now);
  showTiles(now);
  showCharts(now);
  showTables(now);
  before = now;
}

function showFindings(now) {
  const hops = new Set(now.findings.map((finding) => finding.hop));
  for (const hop of at("path").children) hop.classList.toggle("hit", hops.has(hop.dataset.hop));
  const shape = JSON.stringify([now.findings, now.degraded]);
  if (at("findings").dataset.shape === shape) return;
  at("findings").dataset.shape = shape;
  const items = now.findings.map((finding) => {
    const item = element("li");
    item.append(element("strong", `${finding.hop}: `), `${finding.what} (${finding.count}×)`, element("span", finding.remedy, "quiet"));
    return item;
  });
  for (const reason of now.degraded) items.push(element("li", reason, "warn"));
  if (!items.length) items.push(element("li", "Nothing in the last ten minutes.", "good"));
  at("findings").replaceChildren(...items);
}

function showTiles(now) {
  const upgrades = now.upgrades_accepted + now.upgrades_failed;
  const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part === whole ? 0 : 1)} %` : "–");
  const up = rate(now, (at) => at.messages_up);
  const down = rate(now, (at) => at.messages_down);
  const lag = Math.max(...now.loops.map((loop) => loop.lag_max_s));
  const tiles = [
    ["WebSockets open", short(now.websockets_open)],
    ["Connections", `${short(now.connections_open)} of ${short(now.connections_max)}`],
    ["Upgrade success", percent(now.upgrades_accepted, upgrades), now.upgrades_failed ? "warn" : ""],
    ["Messages/s up", short(up)],
    ["Messages/s down", short(down)],
    ["Drops", short(now.drops), now.drops ? "warn" : ""],
    ["Reconnects", short(now.reconnects)],
    ["Held for slow peers", `${short(now.buffered_bytes)} B`],
    ["Memory", now.memory ? percent(now.memory.used_bytes, now.memory.limit_bytes) : "–"],
    ["Worst loop lag", `${(1000 * lag).toFixed(1)} ms`, lag > 0.25 ? "bad" : ""],
  ];
  if (now.store) tiles.push(["Store", `${now.store.state} ${span(now.store.for_s)}`, now.store.state === "answering" ? "" : "bad"]);
  at("tiles").replaceChildren(...tiles.map(([name, value, kind]) => {
    const tile = element("div");
    tile.append(element("dt", name), element("dd", value, kind));
    return tile;
  }));
  history.push([now.websockets_open, up + down]);
  if (history.length > HISTORY) history.shift();
}

function showCharts(now) {
  ["chart-open", "chart-messages"].forEach((id, column) => {
    const values = history.map((point) => point[column]);
    const top = Math.max(1, ...values);
    const step = 300 / Math.max(1, HISTORY - 1);
    const from = HISTORY - values.length;
    const points = values.map((value, place) => `${((from + place) * step).toFixed(1)},${(58 - (56 * value) / top).toFixed(1)}`);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.join(" "));
    at(id).replaceChildren(line);
  });
  const counts = now.lives.counts;
  const top = Math.max(1, ...counts);
  at("lives").replaceChildren(...counts.map((count, place) => {
    const bar = element("div");
    bar.style.height = `${(100 * count) / top}%`;
    const bound = now.lives.bounds_s[place];
    bar.title = `${count} lived ${bound === undefined ? "longer" : `up to ${span(bound)}`}`;
    return bar;
  }));
}

function showTables(now) {
  const mood = { up: "good", starting: "warn", ejected: "bad", down: "bad" };
  fill("replicas", now.upstreams.flatMap((upstream) => upstream.replicas.map((replica) => {
    const path = `/api/v1/upstreams/${encodeURIComponent(upstream.name)}/replicas/${encodeURIComponent(replica.address)}/drain`;
    const row = [
      upstream.name,
      replica.address,
      { text: replica.draining ? `${replica.state}, draining` : replica.state, kind: replica.draining ? "warn" : mood[replica.state] },
      n(replica.websockets_open),
      n(replica.requests_open),
      { text: replica.probe_failure ?? "", kind: "why" },
    ];
    row.push(replica.draining
      ? { label: "Undrain", title: "Let it have new work again", act: () => change(path, "DELETE") }
      : { label: "Drain", title: "Give it nothing new, and let go of what it has", act: () => change(path, "POST") });
    return row;
  })));
  fill("ends", now.ends.map((end) => [
    new Date(1000 * end.at_s).toLocaleTimeString(),
    { text: end.reason, kind: end.drop ? "why bad" : "why" },
    n(span(end.duration_s)),
    n(end.code),
    end.route,
    end.client,
    end.replica,
  ]));
  fill("tasks", now.tasks.map((task) => [
    task.name,
    { text: task.state, kind: task.state === "running" ? "good" : "bad" },
    n(task.restarts ? span(task.for_s) : ""),
    n(task.restarts),
    { text: task.last_error ?? "", kind: "why" },
  ]));
}

let after = 0;

async function showConnections() {
  const query = new URLSearchParams([...new FormData(at("filter"))].filter(([, value]) => value));
  query.set("limit", "50");
  query.set("after", String(after));
  const page = await ask(`/api/v1/connections?${query}`);
  fill("connections", page.connections.map((open) => [
    n(open.id),
    open.kind,
    open.route,
    open.client,
    open.replica,
    n(span(open.open_s)),
    n(open.messages_up ?? ""),
    n(open.messages_down ?? ""),
    { label: "End", title: "End this connection", act: () => change(`/api/v1/connections/${open.id}`, "DELETE") },
  ]));
  at("count").textContent = `${page.total} open`;
  at("more").hidden = page.next === null;
  at("more").dataset.next = page.next ?? 0;
}

async function refresh() {
  show(await ask("/api/v1/overview"));
  await showConnections();
}

async function watch() {
  // Hidden pages ask nothing, and one question is out at a time.
  if (document.visibilityState === "visible") {
    try {
      await refresh();
    } catch (problem) {
      at("state").textContent = problem.status ? problem.message : "no answer";
      at("state").className = "pill bad";
    }
  }
  setTimeout(watch, INTERVAL_MS);
}

at("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  after = 0;
  showConnections().catch((problem) => say(problem.message));
});
at("more").addEventListener("click", () => {
  after = Number(at("more").dataset.next);
  showConnections().catch((problem) => say(problem.message));
});
at("token").addEventListener("click", () => at("ask").showModal());
at("ask").addEventListener("close", () => {
  if (at("ask").returnValue === "ok") sessionStorage.setItem("token", at("secret").value.trim());
  at("secret").value = "";
});
watch();
