// What the demo adds to the chat's page: who serves it, and three buttons. `addEvent`, `TAB` and `$` are chat.js's.
"use strict";

const LOOK_EVERY_MS = 1_000;
let replica = null;
let said = null; // of the last upgrade, when this page has told of it

document.addEventListener("chat", ({ detail }) => {
  replica = detail.replica;
  document.title = replica ? `${replica} · Longhaul demo` : "Longhaul demo";
  showServing();
});

function showServing() {
  for (const part of document.querySelectorAll(".path [data-replica]")) {
    part.classList.toggle("serves", part.dataset.replica === replica);
  }
  $("kill").disabled = replica === null;
}

async function look() {
  try {
    const answer = await fetch("/demo/state");
    if (answer.ok) showState(await answer.json());
  } catch {
    // The demo has ended; the chat says so.
  }
  setTimeout(look, LOOK_EVERY_MS);
}

function showState({ gateway, replicas, upgrades }) {
  const { count, is_under_way, last } = upgrades;
  $("gateway").textContent = `process ${gateway}${count > 0 ? `, upgraded ${count}×` : ""}`;
  $("upgrade").disabled = is_under_way;
  if (said !== null && said !== `${count} ${last}`) addEvent(`The upgrade of the gateway: ${last}.`);
  said = `${count} ${last}`;
  for (const { name, pid } of replicas) {
    const item = document.querySelector(`#replicas [data-replica="${name}"]`);
    item.classList.toggle("gone", pid === null);
    item.querySelector("small").textContent = pid === null ? "killed, back soon" : `process ${pid}`;
  }
}

async function ask(path) {
  try {
    const answer = await fetch(path, { method: "POST" });
    if (!answer.ok) throw new Error(await answer.text());
  } catch (error) {
    addEvent(`It did not work: ${error.message}`, true);
  }
}

$("cut").addEventListener("click", () => ask(`/demo/cut?tab=${TAB}`));
$("kill").addEventListener("click", () => {
  addEvent(`SIGKILL for ${replica}.`);
  $("kill").disabled = true; // until another one serves
  ask(`/demo/kill?replica=${replica}`);
});
$("upgrade").addEventListener("click", () => {
  addEvent("The gateway is to be upgraded.");
  $("upgrade").disabled = true; // until the state says otherwise
  ask("/demo/upgrade");
});
showServing();
look();
