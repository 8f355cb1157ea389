/* The page: a token, one event stream, and the view that the address names. */

import { Refused, follow, get, token } from "/static/api.js";
import { clustersView } from "/static/clusters.js";
import { el } from "/static/dom.js";
import { tick } from "/static/format.js";
import { jobView } from "/static/job.js";
import { jobsView } from "/static/jobs.js";

const content = document.getElementById("content");
const connection = document.getElementById("connection");
const navigation = document.getElementById("navigation");
const session = document.getElementById("session");
const changes = new EventTarget();
let view = new AbortController();
let feed = new AbortController();

const STATES = { live: "Live", away: "Reconnecting…" };

function route() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean);
  const params = new URLSearchParams(query);
  if (parts[0] === "clusters") return ["clusters", (context) => clustersView(context)];
  if (parts[0] === "jobs" && parts[1]) return ["jobs", (context) => jobView(context, decodeURIComponent(parts[1]))];
  return ["jobs", (context) => jobsView(context, params)];
}

/** Leaves the current view and opens the one that the address names. */
function open() {
  view.abort();
  view = new AbortController();
  if (!token.get()) return askForToken();
  const [page, make] = route();
  for (const each of navigation.querySelectorAll("a")) {
    const current = each.getAttribute("href") === `#/${page}`;
    current ? each.setAttribute("aria-current", "page") : each.removeAttribute("aria-current");
  }
  const root = el("div", { class: "view" });
  content.replaceChildren(root);
  scrollTo(0, 0);
  make({ root, signal: view.signal, changes, title, guard: guard(root, view.signal) });
}

/** Runs one piece of loading; what goes wrong is shown in the view, and goes away with the next success. */
function guard(root, signal) {
  const notice = el("p", { class: "notice", role: "alert", hidden: true });
  root.before(notice);
  return async (load) => {
    try {
      const answer = await load();
      notice.hidden = true;
      return answer;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof Refused && error.status === 401) return signOut("This token is not valid (any more).");
      if (!(error instanceof Error)) throw error;
      notice.textContent = `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
      notice.hidden = false;
      return undefined;
    }
  };
}

function title(text) {
  document.title = `${text} · Crossdock`;
}

function askForToken(message = "") {
  title("Sign in");
  navigation.hidden = session.hidden = true;
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const submit = (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    start();
  };
  const form = el(
    "form",
    { class: "card sign-in", on: { submit } },
    el("h1", {}, "Sign in"),
    message ? el("p", { class: "notice", role: "alert" }, message) : null,
    el("label", { for: "token" }, "Access token"),
    field,
    el("p", { class: "quiet" }, "A viewer's token is enough. It is kept in this tab only. Make one with ", el("code", {}, "crossdock tokens create NAME --role viewer"), "."),
    el("button", { type: "submit" }, "Open"),
  );
  content.replaceChildren(form);
  field.focus();
}

function signOut(message) {
  token.forget();
  feed.abort();
  view.abort();
  askForToken(message);
}

/** A cursor near the present: the last event of the newest job. The feed begins with the control plane. */
async function presentCursor(signal) {
  const newest = (await get("/v1/jobs", { limit: 1 }, signal)).items[0];
  if (!newest) return null;
  const told = (await get("/v1/events", { job: newest.id, limit: 1000 }, signal)).items;
  return told.at(-1)?.cursor ?? null;
}

async function listen() {
  feed.abort();
  feed = new AbortController();
  const signal = feed.signal;
  const onState = (state) => {
    connection.textContent = STATES[state];
    connection.className = `connection is-${state}`;
    if (state === "live") changes.dispatchEvent(new CustomEvent("change", { detail: {} })); // what was missed meanwhile
  };
  try {
    const after = await presentCursor(signal).catch(() => null);
    for await (const event of follow("/v1/events/stream", { after }, signal, onState)) {
      changes.dispatchEvent(new CustomEvent("change", { detail: event }));
    }
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 401) signOut("This token is not valid (any more).");
    else connection.textContent = "No live updates";
  }
}

function start() {
  navigation.hidden = session.hidden = false;
  const who = document.getElementById("who");
  get("/v1/me")
    .then((me) => (who.textContent = `${me.name} · ${me.role} · ${me.project ?? "all projects"}`))
    .catch(() => (who.textContent = ""));
  listen();
  open();
}

document.getElementById("sign-out").addEventListener("click", () => signOut());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
addEventListener("hashchange", () => {
  token.takeFromAddress();
  open();
});
setInterval(tick, 1000);
token.takeFromAddress();
token.get() ? start() : askForToken();
