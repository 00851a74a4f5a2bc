// The API, and nothing else: what this page can do, a program can do too.
export const session = { user: null, role: null, csrf: null };
const listeners = { signedOut: () => {}, reachable: () => {} };
export const on = (name, call) => { listeners[name] = call; };

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || `error ${status}`);
    this.status = status;
    this.document = document;
  }
}

const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
export const newKey = () => hex(crypto.getRandomValues(new Uint8Array(16)));

export async function raw(method, path, { body, key, type, signal } = {}) {
  const headers = {};
  if (session.csrf && method !== "GET") headers["X-CSRF-Token"] = session.csrf;
  if (key) headers["Idempotency-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = type || "application/json";
  const sent = body === undefined || type ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { method, headers, body: sent, signal });
  } catch (error) {
    if (error.name !== "AbortError") listeners.reachable("The page's server does not answer.");
    throw error;
  }
  if (response.ok) { listeners.reachable(null); return response; }
  const problem = await response.json().catch(() => ({}));
  if (response.status === 503) listeners.reachable(problem.detail);
  if (response.status === 401 && path !== "/session") listeners.signedOut();
  throw new Problem(response.status, problem);
}

export const get = async (path) => (await raw("GET", path)).json();
export const send = async (method, path, body) => {
  const response = await raw(method, path, { body, key: newKey() });
  return response.status === 204 ? null : response.json();
};

export async function every(path, most = 5000) {
  const items = [];
  let cursor = null;
  do {
    const glue = path.includes("?") ? "&" : "?";
    const page = await get(path + (cursor ? `${glue}cursor=${encodeURIComponent(cursor)}` : ""));
    items.push(...page.items);
    cursor = page.next;
  } while (cursor && items.length < most);
  return items;
}

const ranks = ["viewer", "operator", "admin"];
export const may = (role) => ranks.indexOf(session.role) >= ranks.indexOf(role);

export async function encoded(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
