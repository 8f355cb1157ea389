/* Logs: one task's output, read on by byte offset, so a restart of the server leaves no hole. */

import { get, pause } from "/static/api.js";
import { el, show } from "/static/dom.js";

const QUIET_MS = [300, 600, 1200, 2000];
const SHOWN_CHARS = 2_000_000;
const SHOWN_RANKS = 256;
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

export function logPanel(context, path) {
  const attempt = el("select", { id: "log-attempt", on: { change: restart } });
  const rank = el("select", { id: "log-rank", on: { change: restart } });
  const sticky = el("input", { id: "log-follow", type: "checkbox", checked: true });
  const state = el("span", { class: "quiet", role: "status" });
  const text = el("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Output", "aria-live": "off" });
  const empty = el("p", { class: "empty" }, "No attempt yet.");
  const panel = el(
    "div",
    { hidden: true },
    el(
      "div",
      { class: "bar" },
      el("label", { for: "log-attempt" }, "Attempt "),
      attempt,
      el("label", { for: "log-rank" }, "Task "),
      rank,
      el("label", { class: "check" }, sticky, "Stay at the end"),
      state,
    ),
    text,
  );
  let reading = new AbortController();
  let shown = "";
  let newest = null;

  text.addEventListener("scroll", () => {
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 24;
    if (!atEnd) sticky.checked = false;
  });
  sticky.addEventListener("change", toEnd);
  context.signal.addEventListener("abort", () => reading.abort());

  /** The newest attempt is chosen until the reader chooses another; then theirs stays. */
  function update(job, attempts) {
    const latest = attempts.at(-1)?.id ?? null;
    const chosen = attempt.value && attempt.value !== newest ? attempt.value : latest;
    newest = latest;
    show(attempt, ...[...attempts].reverse().map((each) => el("option", { value: each.id }, `${each.number}${each.id === latest ? ", newest" : ""}`)));
    if (chosen) attempt.value = chosen;
    fillRanks(job, attempts.find((each) => each.id === chosen));
    empty.hidden = Boolean(chosen);
    panel.hidden = !chosen;
    if (chosen && `${chosen} ${rank.value}` !== shown) restart();
  }

  function fillRanks(job, chosen) {
    const before = rank.value;
    const isDriver = job.spec.launch === "driver";
    const seats = isDriver ? (chosen?.seats.slice(0, 1) ?? []) : (chosen?.seats ?? []);
    const options = seats.slice(0, SHOWN_RANKS).map((seat) => el("option", { value: seat.rank }, isDriver ? "driver" : `${seat.rank} on ${seat.node}`));
    if (seats.length > 1) options.push(el("option", { value: "-1" }, "coordinator"));
    show(rank, ...options);
    if ([...rank.options].some((option) => option.value === before)) rank.value = before;
  }

  function restart() {
    reading.abort();
    reading = new AbortController();
    shown = `${attempt.value} ${rank.value}`;
    text.replaceChildren();
    sticky.checked = true;
    read(attempt.value, rank.value, reading.signal);
  }

  async function read(attemptId, taskRank, signal) {
    let offset = 0;
    let quiet = 0;
    state.textContent = "Reading…";
    while (!signal.aborted) {
      const chunk = await get(`${path}/logs`, { attempt: attemptId, rank: taskRank, offset, limit: 262144 }, signal).catch(() => null);
      if (signal.aborted) return;
      if (chunk) append(chunk.data);
      if (chunk?.complete) {
        state.textContent = chunk.next_offset ? "Complete." : "This task printed nothing.";
        return;
      }
      state.textContent = chunk ? "Following." : "Waiting for the server…";
      const grew = chunk && chunk.next_offset > offset;
      quiet = grew ? 0 : quiet + 1;
      offset = chunk?.next_offset ?? offset;
      await pause(QUIET_MS[Math.min(quiet, QUIET_MS.length - 1)], signal);
    }
  }

  function append(data) {
    if (!data) return;
    text.append(data.replace(ESCAPES, "").replace(/[^\n]*\r(?!\n)/g, "").replace(/\r\n/g, "\n"));
    while (text.textContent.length > SHOWN_CHARS && text.childNodes.length > 1) text.firstChild.remove();
    toEnd();
  }

  function toEnd() {
    if (sticky.checked) text.scrollTop = text.scrollHeight;
  }

  return { element: el("div", {}, panel, empty), update };
}
