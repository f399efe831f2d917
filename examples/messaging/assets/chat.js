// The web chat: joins the room that the address names (#lobby) over one WebSocket, and shows what really happened.
// The WebSocket is Longhaul's, a drop-in: behind a gateway it survives lost links and lost replicas, without one it
// is the browser's own. Should it end all the same, the page joins again. What it says is numbered by the room, and
// has an id of its own, so that what nobody confirmed can be said again. Whoever embeds this page hears `chat` events.
"use strict";

const PING_EVERY_MS = 2_000;
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 5_000;
// A replica or gateway that accepts and never welcomes is as good as gone.
const WELCOME_WITHIN_MS = 15_000;
// Sooner than a phone should: the gateway is mostly near.
const PATIENCE = { retry: { first: 100, delays: [250, 500, 1000, 2000, 4000] } };

const $ = (id) => document.getElementById(id);
const ROOM = /^#[a-z0-9-]{1,40}$/.test(location.hash) ? location.hash.slice(1) : "lobby";
const TAB = Math.random().toString(36).slice(2); // tells our links from those of other tabs, on the way
const figures = { sent: 0, received: 0, lost: 0, duplicated: 0, links: 0, moves: 0, reconnects: 0 };
const unconfirmed = new Map(); // id → { id, from, text, element }
const early = new Map(); // number → message, while older ones are missing
let socket = null;
let attempts = 0;
let openedAt = 0;
let cutAt = 0; // since when there is no link
let endedAt = 0;
let lastNumber = null; // of the last message shown; null before the first welcome
let streamNumber = null; // of the last message that this replica has sent

// ---- connection ----

function connect() {
  setState("connecting", attempts === 0 ? "Connecting…" : "Connecting again…");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  // Beyond what the platform's WebSocket takes, ours takes options.
  const Socket = globalThis.Longhaul?.WebSocket ?? WebSocket;
  const mine = (socket = new Socket(`${scheme}://${location.host}/ws?room=${ROOM}&tab=${TAB}`, [], PATIENCE));
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

/** Only Longhaul's WebSocket knows links; a plain one ends with its own. */
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
  1008: "refused by the service",
  1011: "server error",
  1012: "service restart",
  1013: "try again later",
};

const hear = {
  welcome({ replica, history }) {
    attempts = 0;
    const before = document.body.dataset.replica;
    const hasMoved = openedAt > 0;
    if (!hasMoved) openedAt = performance.now();
    setState("open", "Connected");
    setServedBy(replica);
    if (hasMoved) {
      if (before !== replica) count("moves");
      const now = before === replica ? `${replica} starts over` : `${before} is gone, ${replica} took over`;
      addEvent(`${now}. The WebSocket stays open.`);
    } else if (endedAt > 0) {
      count("reconnects");
      addEvent(`Connected again after ${((openedAt - endedAt) / 1000).toFixed(1)} s, served by ${replica}.`);
      endedAt = 0;
    } else {
      addEvent(`Connected to room ${ROOM}, served by ${replica}.`);
    }
    if (lastNumber === null) lastNumber = (history[0]?.number ?? 1) - 1;
    streamNumber = history.at(-1)?.number ?? 0;
    history.forEach(keep);
    show();
    unconfirmed.forEach(transmit);
  },
  said(message) {
    // What a replica sends has no gaps; one would be ours, the gateway's or the network's.
    if (message.number > streamNumber) {
      count("lost", message.number - streamNumber - 1);
      streamNumber = message.number;
    } else {
      count("duplicated");
    }
    keep(message);
    show();
  },
  /** The answer to what was said again. */
  known(message) {
    keep(message);
    show();
  },
  history({ after, messages }) {
    const [first] = messages;
    if (after === lastNumber && first && first.number > lastNumber + 1) {
      addEvent(`${first.number - lastNumber - 1} messages were said so long ago that nobody has them.`, true);
      lastNumber = first.number - 1;
    }
    messages.forEach(keep);
    show();
  },
  pong({ sent_at }) {
    $("round-trip").textContent = `${(performance.now() - sent_at).toFixed(1)} ms`;
  },
};

function keep(message) {
  const own = unconfirmed.get(message.id);
  if (own) {
    unconfirmed.delete(message.id);
    own.element.remove();
    message.isOwn = true;
    count("sent", 0);
  }
  if (message.number > lastNumber && !early.has(message.number)) early.set(message.number, message);
}

/** Shows what is next, and asks for what is missing before something. */
function show() {
  for (let message; (message = early.get(lastNumber + 1)); lastNumber += 1) {
    early.delete(message.number);
    count("received");
    addMessage(message);
  }
  if (early.size > 0) socket.send(JSON.stringify({ kind: "history", after: lastNumber }));
}

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
  document.dispatchEvent(new CustomEvent("chat", { detail: { replica } }));
}

function addMessage({ from, text, through, isOwn }) {
  const item = bubble(from, text, `through ${through}`);
  item.dataset.replica = through;
  item.classList.toggle("own", isOwn === true);
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

$("room").textContent = `#${ROOM}`;
addEventListener("hashchange", () => location.reload());
$("name").value = readName() ?? `Visitor ${100 + Math.floor(Math.random() * 900)}`;
$("name").addEventListener("change", () => keepName($("name").value.trim()));
setInterval(showAge, 1000);
setInterval(ping, PING_EVERY_MS);
connect();
