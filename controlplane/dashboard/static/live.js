/* Keeps a view fresh: loads at once, then whenever something it shows has changed. */

import { pause } from "/static/api.js";

const QUIET_MS = 250;

/**
 * Calls `load` now, after each change that `concerns` the view (many at once count once), and every
 * `everyMs()` milliseconds if that is not null. Calls never overlap.
 */
export async function keepFresh({ signal, changes }, { load, concerns = () => true, everyMs = () => null }) {
  let wake = () => {};
  let stale = false;
  const onChange = ({ detail }) => {
    if (!detail.kind || concerns(detail)) {
      stale = true;
      wake();
    }
  };
  changes.addEventListener("change", onChange, { signal });
  while (!signal.aborted) {
    stale = false;
    await load();
    await pause(QUIET_MS, signal);
    if (!stale) await woken((resolve) => (wake = resolve), everyMs(), signal);
  }
}

function woken(onWake, milliseconds, signal) {
  const timer = new AbortController();
  signal.addEventListener("abort", () => timer.abort(), { signal: timer.signal });
  const waits = [new Promise((resolve) => onWake(resolve)), pause(milliseconds ?? 2 ** 30, timer.signal)];
  return Promise.race(waits).finally(() => timer.abort());
}
