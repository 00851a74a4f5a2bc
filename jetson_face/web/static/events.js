import { encoded, get, may, raw, send } from "./api.js";
import { action, dialog, field, h, time, toast } from "./dom.js";
import { personField, personNamed } from "./who.js";

const kinds = ["appeared", "decided", "changed", "retracted", "left", "canary", "similarity", "consent"];
const notes = ["canary", "similarity", "consent"];

function enrolFrom(event) {
  dialog("Enrol from this event", (close) => {
    const [name, nameField] = personField("Who is it?", { required: true, value: event.name || "" });
    return h("div", {}, nameField, h("p", {}, action("Enrol", async () => {
      const crop = await (await raw("GET", `/events/${event.id}/crop`)).blob();
      const done = await send("POST", "/people", { name: name.value, pictures: [{ label: `event ${event.time}`, data: await encoded(crop) }] });
      toast(done.added.length ? `${done.name} is enrolled` : done.refused[0]?.reason || "it was there already");
      if (done.added.length) close();
    }, "main")));
  });
}

// Who is remembered without a name; zeros stand where somebody was erased.
function seenBefore(event) {
  if (!event.unknown_id || /^0+$/.test(event.unknown_id)) return null;
  const visits = event.seen_before?.visits;
  const text = visits ? `seen before, ${visits} visit${visits === 1 ? "" : "s"}` : "remembered without a name";
  return h("span", {}, " · ", h("a", { href: `#/people/unknown/${event.unknown_id}` }, text));
}

function row(event, fresh) {
  const face = event.has_crop
    ? h("img", { class: "crop", src: `/api/v1/events/${event.id}/crop`, alt: `Face of ${event.name || event.state}`, loading: "lazy" })
    : h("span", { class: "crop", "aria-hidden": "true" });
  const who = notes.includes(event.kind) ? `${event.name ? `${event.name}: ` : ""}${event.text}` : event.name || event.state;
  return h("li", { class: `event${fresh ? " new" : ""}` }, face, h("div", { class: "grow" },
    h("strong", { class: `s-${event.state}` }, who), ` ${event.kind}`,
    h("div", { class: "soft" }, time(event.time), event.source ? ` · ${event.source} · visit ${event.track}` : "",
      seenBefore(event),
      event.similarity === null || event.similarity === undefined ? "" : ` · similarity ${event.similarity.toFixed(3)}`)),
  event.has_crop && may("operator") ? action("Enrol", async () => enrolFrom(event)) : null);
}

export async function show(place) {
  let cursor = null;
  let source = null;
  let later = null;
  let turn = 0;
  let asked = 0;
  const shown = new Set();
  const list = h("ul", { "aria-label": "Events, newest first", class: "plain" });
  const changed = () => begin().catch((error) => toast(error.message));
  const cameras = (await get("/cameras").catch(() => ({ items: [] }))).items;
  const choose = (every, items) => h("select", { onchange: changed }, h("option", { value: "" }, every), items.map(([value, text]) => h("option", { value }, text)));
  const who = { value: "" };
  const [name, nameField] = personField("Person", {
    placeholder: "everybody", onchange: async () => {
      const mine = (asked += 1);
      try {
        const found = name.value.trim() ? (await personNamed(name.value)).id : "";
        if (mine !== asked) return;
        who.value = found;
        changed();
      } catch (error) { toast(error.message); }
    },
  });
  const camera = choose("every camera", cameras.map((c) => [c.name, c.name]));
  const kind = choose("every kind", kinds.map((k) => [k, k]));
  const state = choose("every state", ["known", "unknown", "review", "pending"].map((s) => [s, s]));
  const chosen = { person: who, source: camera, kind, state };
  const since = h("input", { type: "datetime-local", onchange: changed });
  const until = h("input", { type: "datetime-local", onchange: changed });
  const links = h("p", { class: "row" });
  const more = action("Older", async () => load());
  const query = () => {
    const found = new URLSearchParams();
    for (const [name, input] of Object.entries(chosen)) if (input.value) found.set(name, input.value);
    for (const [name, input] of [["since", since], ["until", until]]) {
      if (input.value) found.set(name, new Date(input.value).toISOString());
    }
    return found;
  };
  const fits = (event) => Object.entries(chosen).every(([name, input]) => !input.value || event[name] === input.value)
    && (!since.value || new Date(event.time) >= new Date(since.value)) && (!until.value || new Date(event.time) < new Date(until.value));
  const load = async () => {
    const mine = turn;
    const wanted = query();
    if (cursor) wanted.set("cursor", cursor);
    const page = await get(`/events?${wanted}`);
    if (mine !== turn) return; // something else was chosen meanwhile
    for (const event of page.items) add(event, false);
    cursor = page.next;
    more.hidden = !cursor;
  };
  const add = (event, fresh) => {
    if (shown.has(event.id) || !fits(event)) return;
    shown.add(event.id);
    const line = row(event, fresh);
    line.dataset.id = event.id;
    if (fresh) list.prepend(line);
    else list.append(line);
  };
  const listen = (after) => {
    let last = after;
    const mine = turn;
    source?.close();
    source = new EventSource(`/api/v1/events/stream${last ? `?after=${last}` : ""}`);
    source.onmessage = (message) => {
      last = message.lastEventId;
      add(JSON.parse(message.data), true);
      while (list.children.length > 2000) {
        shown.delete(list.lastChild.dataset.id);
        list.lastChild.remove();
      }
    };
    // A connection that is lost comes back by itself, one that is refused does not.
    const again = async () => {
      try {
        await get("/events?limit=1");
        if (mine === turn) listen(last);
      } catch (error) {
        if (mine === turn && error.status !== 401) later = setTimeout(again, 5000);
      }
    };
    source.onerror = () => { if (source.readyState === EventSource.CLOSED && mine === turn) later = setTimeout(again, 2000); };
  };
  const end = () => {
    turn += 1;
    clearTimeout(later);
    source?.close();
  };
  const begin = async () => {
    end();
    const mine = turn;
    cursor = null;
    shown.clear();
    list.replaceChildren();
    links.replaceChildren(...["csv", "jsonl"].map((format) => {
      const wanted = query();
      wanted.set("format", format);
      return h("a", { class: "button", href: `/api/v1/events/export?${wanted}`, download: `events.${format}` }, `Export ${format.toUpperCase()}`);
    }));
    const newest = (await get("/events?limit=1")).items[0];
    if (mine === turn) await load();
    if (mine === turn) listen(newest?.id);
  };
  place.append(h("div", { class: "card row" }, nameField, field("Camera", camera), field("State", state), field("Kind", kind), field("From", since), field("Until", until)), links, list, more);
  await begin();
  return end;
}
