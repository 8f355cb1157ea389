/* The list of jobs: newest first, filtered by state, following the event stream. */

import { get } from "/static/api.js";
import { Rows, badge, el, link } from "/static/dom.js";
import { since } from "/static/format.js";
import { keepFresh } from "/static/live.js";

const STATES = ["held", "queued", "active", "succeeded", "failed", "cancelled"];
const PAGE = 100;
const EVERY_MS = 15000;

export function jobsView(context, params) {
  const { root, title } = context;
  const state = STATES.includes(params.get("state")) ? params.get("state") : null;
  let wanted = PAGE;
  title(state ? `Jobs, ${state}` : "Jobs");

  const rows = new Rows(state ? `Jobs that are ${state}, newest first` : "Jobs, newest first", [
    ["Job"],
    ["Phase"],
    ["Project / queue"],
    ["Kind"],
    ["Tasks", "number"],
    ["Attempts", "number"],
    ["Submitted"],
    ["In this state"],
  ]);
  const empty = el("p", { class: "empty", hidden: true }, ...nothing(state));
  const more = el("button", { type: "button", class: "plain", hidden: true }, "Show more");
  root.append(el("div", { class: "head" }, el("h1", {}, "Jobs"), filter(state)), rows.element, empty, more);

  const load = () =>
    context.guard(async () => {
      const { jobs, hasMore } = await newest(state, wanted, context.signal);
      rows.update(jobs.map((job) => [job.id, cells(job)]));
      rows.element.hidden = !jobs.length;
      empty.hidden = jobs.length > 0;
      more.hidden = !hasMore;
    });
  more.addEventListener("click", () => {
    wanted += PAGE;
    load();
  });
  const concerns = (event) => event.kind.startsWith("job.") || event.kind.startsWith("attempt.");
  keepFresh(context, { load, concerns, everyMs: () => EVERY_MS });
}

async function newest(state, wanted, signal) {
  const jobs = [];
  let after = null;
  do {
    const page = await get("/v1/jobs", { state, limit: Math.min(wanted - jobs.length, 1000), after }, signal);
    jobs.push(...page.items);
    after = page.next;
  } while (after && jobs.length < wanted);
  return { jobs, hasMore: Boolean(after) };
}

function filter(current) {
  const entry = (state) => {
    const attributes = state === current ? { "aria-current": "true" } : {};
    return link(state ? `#/jobs?state=${state}` : "#/jobs", state ?? "all", attributes);
  };
  return el("nav", { class: "filter", "aria-label": "Filter by state" }, [null, ...STATES].map(entry));
}

function cells(job) {
  const name = link(`#/jobs/${encodeURIComponent(job.id)}`, job.name, { class: "name" });
  return [
    el("span", { class: "stack" }, name, el("span", { class: "quiet mono" }, job.id)),
    el("span", { class: "stack" }, badge(job.phase), job.reason ? el("span", { class: "quiet clip", title: job.reason }, job.reason) : null),
    `${job.project} / ${job.queue}`,
    job.kind,
    String(job.tasks),
    String(job.attempts),
    since(job.submitted_at),
    since(job.since),
  ];
}

function nothing(state) {
  if (state) return [`No job is ${state}.`];
  return ["No jobs yet. Submit one with ", el("code", {}, "crossdock jobs submit job.yaml"), "."];
}
