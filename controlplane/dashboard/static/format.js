/* Values as text. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

import { el } from "/static/dom.js";

export function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(5)));
}

export function amount(name, value) {
  if (!name.startsWith("memory")) return number(value);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(Number(value.toPrecision(3)))} ${UNITS[unit]}`;
}

export function amounts(values) {
  const parts = Object.entries(values ?? {}).filter(([, value]) => value);
  return parts.map(([name, value]) => `${name} ${amount(name, value)}`).join(", ");
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** How long ago, kept true by `tick`; the exact moment is its tooltip. */
export function since(iso) {
  if (!iso) return "–";
  return el("time", { datetime: iso, title: moment(iso), "data-since": "ago" }, ago(iso));
}

/** How long something took, or has taken so far. */
export function took(from, to) {
  if (!from) return "–";
  if (to) return duration((Date.parse(to) - Date.parse(from)) / 1000);
  return el("time", { datetime: from, "data-since": "for" }, lasting(from));
}

export function moment(iso) {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function tick() {
  for (const element of document.querySelectorAll("time[data-since]")) {
    element.textContent = element.dataset.since === "ago" ? ago(element.dateTime) : lasting(element.dateTime);
  }
}

function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  return seconds < 2 ? "just now" : `${short(seconds)} ago`;
}

function lasting(iso) {
  return short((Date.now() - Date.parse(iso)) / 1000);
}

function short(seconds) {
  return duration(seconds).replace(/ (\d+ [smh])$/, seconds < 3600 ? "" : " $1");
}
