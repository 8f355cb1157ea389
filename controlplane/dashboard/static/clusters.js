/* Clusters: their state, how much is booked, and their nodes. */

import { items } from "/static/api.js";
import { Rows, badge, el, show } from "/static/dom.js";
import { amount, amounts, since } from "/static/format.js";
import { keepFresh } from "/static/live.js";

const EVERY_MS = 5000;
const KINDS = ["cluster.", "node.", "attempt."];

export function clustersView(context) {
  const { root, signal, title } = context;
  const list = el("div", { class: "clusters" });
  const empty = el("p", { class: "empty", hidden: true }, "No clusters yet. Register one with ", el("code", {}, "crossdock clusters add"), ".");
  const cards = new Map();
  title("Clusters");
  root.append(el("div", { class: "head" }, el("h1", {}, "Clusters")), list, empty);

  const load = () =>
    context.guard(async () => {
      const [clusters, nodes] = await Promise.all([items("/v1/clusters", {}, signal), items("/v1/nodes", {}, signal)]);
      empty.hidden = clusters.length > 0;
      for (const cluster of clusters) {
        const card = cards.get(cluster.id) ?? clusterCard(cluster.name);
        if (!cards.has(cluster.id)) list.append(card.element);
        cards.set(cluster.id, card);
        card.update(cluster, nodes.filter((node) => node.cluster_id === cluster.id && !node.gone_at));
      }
    });
  keepFresh(context, {
    load,
    concerns: (event) => KINDS.some((kind) => event.kind.startsWith(kind)),
    everyMs: () => EVERY_MS,
  });
}

function clusterCard(name) {
  const head = el("div", { class: "head" });
  const facts = el("dl", { class: "facts" });
  const usage = el("div", { class: "usages" });
  const rows = new Rows(`Nodes of ${name}`, [["Node"], ["Host"], ["Accelerator"], ["Booked"], ["Used by others"], ["Seen"]]);
  const none = el("p", { class: "empty" }, "No nodes are present.");
  const element = el("section", { class: "card", "aria-label": `Cluster ${name}` }, head, facts, usage, rows.element, none);

  function update(cluster, nodes) {
    show(head, el("h2", {}, cluster.name), badge(cluster.state), cluster.cordoned_at ? badge("cordoned") : null, el("span", { class: "quiet mono" }, cluster.id));
    show(facts, ...factsOf(cluster));
    show(usage, ...gauges(cluster.booked, cluster.capacity));
    rows.update(nodes.map((node) => [node.id, cells(node)]));
    rows.element.hidden = !nodes.length;
    none.hidden = nodes.length > 0;
  }

  return { element, update };
}

function factsOf(cluster) {
  return [
    ["Adapter", cluster.adapter],
    ["Address", cluster.url ? el("code", {}, cluster.url) : null],
    ["Nodes", String(cluster.nodes)],
    ["In this state", since(cluster.since)],
    ["Last seen", cluster.last_seen_at ? since(cluster.last_seen_at) : "never"],
    ["Cordoned", cluster.cordoned_at ? since(cluster.cordoned_at) : null],
    ["Used by others", amounts(cluster.foreign ?? {}) || null],
    ["Not allowed there", cluster.warnings?.length ? el("ul", { class: "warnings" }, ...cluster.warnings.map((each) => el("li", {}, each))) : null, "wide"],
    ["Problem", cluster.problem ? el("span", { class: "bad" }, cluster.problem) : null, "wide"],
  ]
    .filter(([, value]) => value !== null)
    .map(([name, value, kind]) => el("div", { class: kind ?? null }, el("dt", {}, name), el("dd", {}, value)));
}

function gauges(booked, capacity) {
  return Object.entries(capacity)
    .filter(([, whole]) => whole > 0)
    .map(([name, whole]) => {
      const used = booked[name] ?? 0;
      return el(
        "div",
        { class: "usage" },
        el("span", {}, name),
        el("progress", { max: whole, value: used, "aria-label": `${name} booked` }),
        el("span", { class: "quiet" }, `${amount(name, used)} of ${amount(name, whole)} booked`),
      );
    });
}

function cells(node) {
  return [
    el("span", { class: "name" }, node.name),
    node.host,
    node.accelerator ?? "–",
    el("span", { class: "usages small" }, ...gauges(node.booked, node.allocatable)),
    amounts(node.foreign) || "–",
    since(node.seen_at),
  ];
}
