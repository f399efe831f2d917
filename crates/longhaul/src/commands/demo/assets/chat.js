// The demo's page: joins the chat over one WebSocket, and shows what really happened. The gateway has put its
// client in the place of the browser's, so that neither a lost link nor a lost replica ends it; should it end all
// the same, the page joins again. It knows replicas by name only; which one answers is the gateway's choice.
"use strict";

const PING_EVERY_MS = 2_000;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5_000;
// A replica or gateway that accepts and never welcomes is as good as gone.
const WELCOME_WITHIN_MS = 8_000;

const $ = (id) => document.getElementById(id);
const figures = { sent: 0, received: 0, lost: 0, duplicated: 0, links: 0, moves: 0, reconnects: 0 };
const TAB = Math.random().toString(36).slice(2); // by which the tunnel knows our links
// Nobody at a demo wants to wait as long as a phone should.
const PATIENCE = { retry: { first: 100, delays: [500, 1000, 2000] } };
const unconfirmed = new Map(); // id → { id, from, text, element }
let socket = null;
let attempts = 0;
let openedAt = 0;
let cutAt = 0; // since when there is no link
let endedAt = 0;
let room = null; // which numbers belong to; another one after the demo was started anew
let lastNumber = null; // of the last message seen in this room; null before the first welcome

// ---- connection ----

function connect() {
  setState("connecting", attempts === 0 ? "Connecting…" : "Connecting again…");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  // Beyond what the platform's WebSocket takes, ours takes options.
  const Socket = globalThis.Longhaul?.WebSocket ?? WebSocket;
  const mine = (socket = new Socket(`${scheme}://${location.host}/chat?tab=${TAB}`, [], PATIENCE));
  mine.onstatechange = () => linkChanged(mine.state);
  const giveUp = setTimeout(() => mine.close(), WELCOME_WITHIN_MS);
  mine.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.kind === "welcome") clearTimeout(giveUp);
    hear[news.kind]?.(news);
  };
  mine.onclose = (event) => {
    clearTimeout(giveUp);
    if (mine === socket) closed(event);
  };
}

/** Only the gateway's client knows links; a plain WebSocket ends with its own. */
function linkChanged(state) {
  if (state === "resuming") {
    cutAt = performance.now();
    setState("cut", "Link lost, messages wait");
    addEvent("The link was lost. The WebSocket stays open.", true);
  } else if (state === "live" && cutAt > 0) {
    count("links");
    addEvent(`Back on another link after ${((performance.now() - cutAt) / 1000).toFixed(1)} s.`);
    cutAt = 0;
    if (openedAt > 0) setState("open", "Connected");
  }
}

function closed({ code, reason }) {
  const wasOpen = openedAt > 0;
  socket = null;
  openedAt = cutAt = 0;
  setServedBy(null);
  if (wasOpen) {
    endedAt = performance.now();
    const name = CLOSE_CODES[code] ?? reason;
    addEvent(`The connection ended with ${code}${name ? ` (${name})` : ""}. Connecting again…`, true);
  }
  const wait = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempts++);
  setState("connecting", navigator.onLine ? "Not connected" : "Offline");
  // Half fixed and half random, so that many pages do not return in step.
  setTimeout(connect, wait / 2 + (Math.random() * wait) / 2);
}

const CLOSE_CODES = {
  1000: "normal",
  1001: "going away",
  1006: "cut without a close frame",
  1008: "refused by the chat",
  1011: "server error",
  1012: "service restart",
  1013: "try again later",
};

const hear = {
  welcome({ room: welcomedTo, replica, history, replicas }) {
    if (room !== null && room !== welcomedTo) addEvent("The demo was started anew.");
    if (room !== welcomedTo) [room, lastNumber] = [welcomedTo, null];
    attempts = 0;
    const before = document.body.dataset.replica;
    const hasMoved = openedAt > 0;
    if (!hasMoved) openedAt = performance.now();
    setState("open", "Connected");
    setServedBy(replica);
    const fresh = lastNumber === null ? history : history.filter((m) => m.number > lastNumber);
    if (hasMoved) {
      if (before !== replica) count("moves");
      const now = before === replica ? `${replica} starts over` : `${before} is gone, ${replica} took over`;
      addEvent(`${now}. The WebSocket stays open.`);
    } else if (endedAt > 0) {
      count("reconnects");
      const gap = ((openedAt - endedAt) / 1000).toFixed(1);
      const caughtUp = fresh.length > 0 ? `; ${fresh.length} said meanwhile` : "";
      addEvent(`Connected again after ${gap} s, served by ${replica}${caughtUp}.`);
      endedAt = 0;
    } else {
      addEvent(`Connected, served by ${replica}.`);
    }
    if (lastNumber === null) lastNumber = (fresh[0]?.number ?? 1) - 1;
    fresh.forEach(hear.said);
    showReplicas(replicas);
    unconfirmed.forEach(transmit);
  },
  said(message) {
    const own = unconfirmed.get(message.id);
    if (message.number <= lastNumber) {
      // Shown already. That is an answer to what was said again, or should not be.
      if (!own) count("duplicated");
      return;
    }
    if (own) {
      unconfirmed.delete(message.id);
      own.element.remove();
    }
    count("received");
    count("lost", message.number - lastNumber - 1);
    lastNumber = message.number;
    addMessage(message, own !== undefined);
  },
  replicas: ({ replicas }) => showReplicas(replicas),
  pong({ sent_at }) {
    $("round-trip").textContent = `${(performance.now() - sent_at).toFixed(1)} ms`;
  },
};

function ping() {
  if (openedAt > 0 && cutAt === 0) socket.send(JSON.stringify({ kind: "ping", sent_at: performance.now() }));
}

// ---- speaking ----

function say(from, text) {
  const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const entry = { id, from, text, element: addWaiting(from, text) };
  unconfirmed.set(id, entry);
  count("sent");
  if (openedAt > 0) transmit(entry);
}

function transmit({ id, from, text }) {
  socket.send(JSON.stringify({ kind: "say", id, from, text }));
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const [from, text] = [$("name").value.trim(), $("text").value.trim()];
  if (from && text) {
    say(from, text);
    $("text").value = "";
  }
  $("text").focus();
});

// ---- showing ----

function setState(state, words) {
  document.body.dataset.state = state;
  if ($("state").textContent !== words) $("state").textContent = words;
}

function setServedBy(replica) {
  if (replica) document.body.dataset.replica = replica;
  else delete document.body.dataset.replica;
  $("served-by").textContent = replica ?? "nobody";
  document.title = replica ? `${replica} · Longhaul demo` : "Longhaul demo";
  for (const part of document.querySelectorAll(".path [data-replica]")) {
    part.classList.toggle("serves", part.dataset.replica === replica);
  }
}

function showReplicas(replicas) {
  for (const { name, is_up, visitors } of replicas) {
    const item = document.querySelector(`#replicas [data-replica="${name}"]`);
    const serves = document.body.dataset.replica === name;
    item.classList.toggle("stopped", !is_up);
    item.querySelector("small").textContent = is_up ? `${visitors} open${serves ? ", yours" : ""}` : "stopped";
    item.querySelector("small").title = "WebSockets that are open on this replica";
    const button = item.querySelector("button");
    const verb = is_up ? "stop" : "start";
    button.hidden = false;
    button.textContent = is_up ? "Stop" : "Start";
    button.setAttribute("aria-label", `${verb} replica ${name}`);
    // Without any replica there would be nobody left to ask for a start.
    button.disabled = is_up && replicas.filter((replica) => replica.is_up).length === 1;
    button.title = button.disabled ? "The last one stays up: the switches are served by the replicas" : "";
    button.onclick = () => flip(button, name, verb);
  }
}

async function flip(button, name, verb) {
  button.disabled = true;
  try {
    const answer = await fetch(`/replicas/${name}/${verb}`, { method: "POST" });
    if (!answer.ok) throw new Error(await answer.text());
    showReplicas(await answer.json());
  } catch (error) {
    button.disabled = false;
    addEvent(`Could not ${verb} ${name}: ${error.message}`, true);
  }
}

function addMessage({ from, text, through }, isOwn) {
  const item = bubble(from, text, `through ${through}`);
  item.dataset.replica = through;
  item.classList.toggle("own", isOwn);
  append(item);
}

function addWaiting(from, text) {
  const item = bubble(from, text, "not confirmed yet");
  item.classList.add("own", "waiting");
  append(item);
  return item;
}

function bubble(from, text, note) {
  const item = document.createElement("li");
  const head = document.createElement("header");
  const name = document.createElement("strong");
  const label = document.createElement("span");
  const body = document.createElement("p");
  item.className = "message";
  [name.textContent, label.textContent, body.textContent] = [from || "somebody", note, text];
  head.append(name, label);
  item.append(head, body);
  return item;
}

function addEvent(words, isBad = false) {
  const item = document.createElement("li");
  item.className = isBad ? "event bad" : "event";
  item.textContent = `${new Date().toLocaleTimeString()} · ${words}`;
  append(item);
}

/** Follows the end of the log, unless the reader has scrolled up. Keeps the last 300 lines. */
function append(item) {
  const log = $("log");
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(item);
  while (log.childElementCount > 300) log.firstElementChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
}

function count(figure, by = 1) {
  figures[figure] += by;
  $(figure).textContent = figures[figure];
  $("unconfirmed").textContent = unconfirmed.size === 0 ? "" : `, ${unconfirmed.size} not confirmed`;
}

function showAge() {
  const s = Math.floor((performance.now() - openedAt) / 1000);
  const [m, rest] = [Math.floor(s / 60), String(s % 60).padStart(2, "0")];
  $("open-for").textContent = openedAt > 0 ? `${m}:${rest}` : "–";
}

// ---- start ----

function readName() {
  try {
    return localStorage.getItem("name");
  } catch {
    return null; // Storage may be forbidden; the name is then asked again next time.
  }
}

function keepName(name) {
  try {
    localStorage.setItem("name", name);
  } catch {
    // As above.
  }
}

$("gateway").textContent = location.host;
$("cut").addEventListener("click", () => fetch(`/tunnel/cut?tab=${TAB}`, { method: "POST" }));
$("name").value = readName() ?? `Visitor ${100 + Math.floor(Math.random() * 900)}`;
$("name").addEventListener("change", () => keepName($("name").value.trim()));
setInterval(showAge, 1000);
setInterval(ping, PING_EVERY_MS);
connect();
