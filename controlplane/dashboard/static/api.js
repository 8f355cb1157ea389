/* The public API, read only, with the token that the page was given. */

const PLACE = "crossdock-token";
const PAUSES = [500, 1000, 2000, 4000];
const PAGE_LIMIT = 20;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the server answered ${status}`);
    this.status = status;
  }
}

/** The server cannot be reached, or asks to come back later. */
export class Away extends Error {}

export const token = {
  get: () => sessionStorage.getItem(PLACE),
  set: (value) => sessionStorage.setItem(PLACE, value),
  forget: () => sessionStorage.removeItem(PLACE),

  /** Takes `#token=..` out of the address, before anything else may see it. */
  takeFromAddress() {
    const match = /^#token=([^&]+)$/.exec(location.hash);
    if (!match) return;
    this.set(decodeURIComponent(match[1]));
    history.replaceState(null, "", `${location.pathname}#/jobs`);
  },
};

export async function get(path, params, signal) {
  return (await ask(path, params, signal)).json();
}

/** All items of a list, up to a bound that a page can show. */
export async function items(path, params, signal) {
  const found = [];
  let after = null;
  for (let pages = 0; pages < PAGE_LIMIT; pages += 1) {
    const page = await get(path, { limit: 1000, ...params, after }, signal);
    found.push(...page.items);
    after = page.next;
    if (!after) break;
  }
  return found;
}

/** A list that mostly grows at its end: asks again for the last page alone. */
export class Tail {
  constructor(path) {
    this.path = path;
    this.forget();
  }

  forget() {
    this.before = [];
    this.after = null;
  }

  async read(signal) {
    for (let pages = 0; ; pages += 1) {
      const page = await get(this.path, { limit: 1000, after: this.after }, signal);
      if (!page.next || pages >= PAGE_LIMIT) return [...this.before, ...page.items];
      this.before.push(...page.items);
      this.after = page.next;
    }
  }
}

/** Events of one stream, for ever: reconnects behind the last one. EventSource cannot send a token. */
export async function* follow(path, params, signal, onState) {
  let lastId = null;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
      const response = await ask(path, params, signal, headers);
      onState("live");
      for await (const message of messages(response.body)) {
        failures = 0;
        lastId = message.id ?? lastId;
        yield JSON.parse(message.data);
      }
    } catch (error) {
      if (signal.aborted || error instanceof Refused) throw error;
    }
    onState("away");
    await pause(PAUSES[Math.min(failures, PAUSES.length - 1)], signal);
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}

async function ask(path, params, signal, headers = {}) {
  const response = await fetch(address(path, params), {
    headers: { Authorization: `Bearer ${token.get()}`, ...headers },
    cache: "no-store",
    signal,
  }).catch((error) => {
    throw signal?.aborted ? error : new Away("the server does not answer");
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if ([429, 502, 503, 504].includes(response.status)) throw new Away(problem.detail ?? "the server is away");
  throw new Refused(response.status, problem);
}

function address(path, params = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) url.searchParams.append(name, value);
  }
  return url;
}

async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (waiting + value).split("\n\n");
      waiting = blocks.pop();
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => /^(\w+): ?(.*)$/s.exec(line)).filter(Boolean);
        const data = fields.filter(([, name]) => name === "data").map(([, , text]) => text);
        const id = fields.find(([, name]) => name === "id")?.[2];
        if (data.length) yield { id, data: data.join("\n") };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
