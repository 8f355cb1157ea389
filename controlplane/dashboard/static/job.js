/* One job: where it stands and why, its attempts, what it measured, what it printed. */

import { Tail, get, items } from "/static/api.js";
import { Rows, badge, el, link, show } from "/static/dom.js";
import { amount, amounts, duration, moment, since, took } from "/static/format.js";
import { keepFresh } from "/static/live.js";
import { logPanel } from "/static/logs.js";
import { plots } from "/static/plot.js";

const FINISHED = ["succeeded", "failed", "cancelled"];
const WAITING_MS = 10000;
const ACTIVE_MS = 2500;

export function jobView(context, id) {
  const { root, signal, title } = context;
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const metrics = new Tail(`${path}/metrics`);
  let job = null;
  title("Job");

  const head = el("div", { class: "head" });
  const why = el("div", { class: "why" });
  const facts = el("dl", { class: "facts" });
  const attempts = new Rows("Attempts, newest first", [
    ["Attempt"],
    ["State"],
    ["Cluster"],
    ["Progress"],
    ["Placed", "nowrap"],
    ["Took", "nowrap"],
    ["Exit", "number"],
    ["Tasks on nodes"],
  ]);
  const noAttempts = el("p", { class: "empty" }, "No attempt yet.");
  const charts = plots();
  const logs = logPanel(context, path);
  root.append(
    head,
    why,
    section("Facts", facts),
    section("Attempts", attempts.element, noAttempts),
    section("Metrics", charts.element),
    section("Logs", logs.element),
  );

  const load = () =>
    context.guard(async () => {
      let [found, told, tries, points] = await Promise.all([
        get(path, {}, signal),
        get(`${path}/explain`, {}, signal),
        items(`${path}/attempts`, {}, signal),
        metrics.read(signal),
      ]);
      if (FINISHED.includes(found.state) && job && found.state !== job.state) {
        // Once more from the start: an earlier task may have added to a page that was full.
        metrics.forget();
        points = await metrics.read(signal);
      }
      job = found;
      title(job.name);
      show(head, ...heading(job));
      show(why, ...reason(told));
      show(facts, ...factsOf(job));
      attempts.update([...tries].reverse().map((attempt) => [attempt.id, attemptCells(attempt)]));
      attempts.element.hidden = !tries.length;
      noAttempts.hidden = tries.length > 0;
      charts.update(points);
      logs.update(job, tries);
    });
  keepFresh(context, {
    load,
    concerns: (event) => event.job_id === id,
    everyMs: () => (!job ? WAITING_MS : FINISHED.includes(job.state) ? null : job.state === "active" ? ACTIVE_MS : WAITING_MS),
  });
}

function section(name, ...children) {
  return el("section", { "aria-label": name }, el("h2", {}, name), ...children);
}

function heading(job) {
  return [
    el("h1", {}, job.name),
    badge(job.phase),
    el("span", { class: "quiet mono" }, job.id),
    el("span", { class: "quiet" }, `${job.state} for `, took(job.since, null)),
  ];
}

function reason(told) {
  return [
    el("p", {}, el("strong", {}, ...sentence(told.sentence))),
    told.remedy ? el("p", {}, ...sentence(told.remedy)) : null,
    told.unused_fields.length ? el("p", { class: "quiet" }, `Stored, but not used by any decision yet: ${told.unused_fields.join(", ")}.`) : null,
  ];
}

/** As a sentence; what stands in backticks is code. */
function sentence(text) {
  const whole = `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
  return whole.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

function factsOf(job) {
  const spec = job.spec;
  const jobs = (ids) => ids.flatMap((id, at) => [at ? ", " : null, link(`#/jobs/${encodeURIComponent(id)}`, id, { class: "mono" })]);
  const labels = Object.entries(job.labels).map(([name, value]) => el("span", { class: "label" }, `${name}=${value}`));
  const retry = spec.retry ?? {};
  return [
    ["Project / queue", `${job.project} / ${job.queue}`],
    ["Kind", spec.launch === "driver" ? `${job.kind}, one driver` : job.kind],
    ["Priority", String(job.priority)],
    ["Tasks", tasksOf(job)],
    ["Submitted", el("time", { datetime: job.submitted_at }, moment(job.submitted_at))],
    ["Attempts", `${job.attempts}, of ${retry.max_attempts ?? 1} allowed`],
    ["Longest run", spec.max_runtime_seconds ? duration(spec.max_runtime_seconds) : null],
    ["Grace when stopped", duration(spec.grace_seconds ?? 30)],
    ["Cancel asked", job.cancel_requested_at ? since(job.cancel_requested_at) : null],
    ["Depends on", job.depends_on.length ? el("span", {}, ...jobs(job.depends_on)) : null],
    ["Retry of", job.retry_of ? el("span", {}, ...jobs([job.retry_of])) : null],
    ["Labels", labels.length ? el("span", { class: "labels" }, ...labels) : null],
    ["Checkpoints", mono(spec.checkpoint_uri), "two"],
    ["Outputs", mono(spec.outputs_uri), "two"],
    ["Working folder", mono(spec.working_dir), "two"],
    ["Entrypoint", mono(spec.entrypoint), "wide"],
  ]
    .filter(([, value]) => value !== null)
    .map(([name, value, kind]) => el("div", { class: kind ?? null }, el("dt", {}, name), el("dd", {}, value)));
}

function tasksOf(job) {
  const roles = job.spec.roles ?? [];
  const inRoles = roles.map((role) => `${role.name} ${role.tasks ?? 1} × ${needs(role.resources)}`);
  return inRoles.length ? inRoles.join("; ") : `${job.tasks} × ${needs(job.spec.resources)}`;
}

function needs(resources = {}) {
  const { accelerator, custom, memory, ...plain } = resources;
  const parts = [amounts({ cpus: 1, ...plain, ...custom })];
  if (memory) parts.push(`memory ${typeof memory === "number" ? amount("memory", memory) : memory}`);
  if (accelerator) parts.push(`on ${accelerator}`);
  return parts.join(", ");
}

function mono(text) {
  return text ? el("code", {}, text) : null;
}

function attemptCells(attempt) {
  return [
    el("span", { class: "stack" }, String(attempt.number), el("span", { class: "quiet mono" }, attempt.id)),
    el("span", { class: "stack" }, badge(attempt.outcome ?? attempt.state), attempt.reason ? el("span", { class: "quiet clip", title: attempt.reason }, attempt.reason) : null),
    attempt.cluster,
    progress(attempt),
    since(attempt.placed_at),
    took(attempt.started_at ?? attempt.placed_at, attempt.ended_at),
    attempt.exit_code === null ? "–" : String(attempt.exit_code),
    seats(attempt.seats),
  ];
}

function progress(attempt) {
  if (attempt.progress === null) return "–";
  const percent = `${Math.round(attempt.progress * 100)} %`;
  const bar = el("progress", { max: 1, value: attempt.progress, "aria-label": `Progress of attempt ${attempt.number}` });
  return el("span", { class: "stack" }, el("span", { class: "gauge" }, bar, percent), attempt.progress_message ? el("span", { class: "quiet clip", title: attempt.progress_message }, attempt.progress_message) : null);
}

function seats(all) {
  const shown = all.slice(0, 8).map((seat) => {
    const needs = amounts(seat.resources);
    return el("span", { class: "label", title: needs }, `${seat.rank} → ${seat.node}`);
  });
  const rest = all.length - shown.length;
  return el("span", { class: "labels" }, ...shown, rest > 0 ? el("span", { class: "quiet" }, `and ${rest} more`) : null);
}
