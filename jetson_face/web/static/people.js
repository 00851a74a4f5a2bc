import { encoded, get, may, send } from "./api.js";
import { action, dialog, doing, facts, field, h, time, toast } from "./dom.js";
import { openUnknown, unknownPeople } from "./unknown.js";
import { personField, personNamed } from "./who.js";

const portrait = (person) => h("img", { class: "portrait", src: `/api/v1/people/${person.id}/portrait?n=${person.template_count}`, alt: `Portrait of ${person.name}`, loading: "lazy" });

function outcome(done) {
  return h("div", { role: "status" },
    h("p", { class: done.added.length ? "good" : "warn" }, `${done.name}: ${done.added.length} added, ${done.already.length} were there already, ${done.refused.length} refused.`),
    h("ul", {}, done.refused.map((one) => h("li", { class: "bad" }, `${one.label}: ${one.reason}`)), done.warnings.map((text) => h("li", { class: "warn" }, text))));
}

// What goes in one request: the server takes 48 MiB, and base64 makes a third more of a file.
export function batches(files) {
  const found = [];
  let size = Infinity;
  for (const file of files) {
    if (size + file.size > 32e6 || found.at(-1).length === 8) { found.push([]); size = 0; }
    found.at(-1).push(file);
    size += file.size;
  }
  return found;
}

function enrolForm(refresh) {
  const [name, nameField] = personField("Name", { required: true });
  const files = h("input", { type: "file", accept: "image/*", multiple: true });
  const force = h("input", { type: "checkbox" });
  const never = h("input", { type: "checkbox" });
  const said = h("div");
  const button = h("button", { class: "main" }, "Enrol");
  let dropped = [];
  const count = h("p", { class: "soft" }, "or drop pictures here");
  const area = h("div", { class: "drop" }, field("Pictures, one face each", files), count);
  area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    dropped = [...event.dataTransfer.files];
    count.textContent = `${dropped.length} dropped`;
  });
  const form = h("form", { class: "card" }, h("h2", {}, "Enrol somebody"), nameField, area,
    h("details", {}, h("summary", {}, "More"), field("Also pictures that look like somebody else, or were erased with a person", force),
      field("Never recognise this face (do-not-recognise list); the name may be any", never)),
    h("p", {}, button), said);
  form.addEventListener("submit", doing(button, async () => {
    const chosen = [...files.files, ...dropped];
    if (!chosen.length) throw new Error("choose pictures first");
    for (const [i, files] of batches(chosen).entries()) {
      const pictures = [];
      for (const file of files) pictures.push({ label: file.name, data: await encoded(file) });
      const done = await send("POST", "/people", { name: name.value, pictures, force: force.checked, do_not_recognise: never.checked });
      if (i === 0) said.replaceChildren();
      said.append(outcome(done));
    }
    dropped = [];
    form.reset();
    count.textContent = "or drop pictures here";
    await refresh();
  }));
  return form;
}

function receiptOf(receipt) {
  const file = URL.createObjectURL(new Blob([JSON.stringify(receipt, null, 2)], { type: "application/json" }));
  return h("div", {}, h("p", { class: receipt.complete ? "good" : "bad" }, receipt.complete ? "Everything is erased." : "Not everything is erased: see what failed."),
    facts([["Templates", receipt.templates], ["Crops", receipt.crops.length], ["Review items", receipt.review_items], ["Searched afterwards", receipt.verified.join(", ")], ["Failed", receipt.failed.join(", ") || "nothing"], ["Service", receipt.service], ["By", receipt.actor], ["Time", receipt.time]]),
    h("p", {}, h("a", { class: "button", href: file, download: `receipt-${receipt.person}.json` }, "Save the receipt")));
}

async function open(id, refresh) {
  const person = await get(`/people/${id}`);
  dialog(person.name, (close) => {
    const name = h("input", { value: person.name, maxlength: 100 });
    const [into, intoField] = personField("Move all photos to");
    const sure = h("input", { autocomplete: "off" });
    const templates = h("ul", { class: "faces plain", "aria-label": "Photos" }, person.templates.map((t) => h("li", { class: "card" },
      h("img", { class: "portrait", src: `/api/v1/people/${id}/templates/${t.id}/portrait`, alt: `Photo ${t.source}`, loading: "lazy" }),
      h("div", { class: "soft" }, `${t.source || "photo"}, quality ${t.quality.toFixed(2)}`), t.warning ? h("div", { class: "warn" }, t.warning) : null,
      may("operator") && person.templates.length > 1 ? action("Take out", async () => { await send("DELETE", `/people/${id}/templates/${t.id}`); close(); await refresh(); open(id, refresh); }) : null)));
    return h("div", {},
      facts([["Since", time(person.since)], ["Photos", person.template_count], ["Last seen", lastSeen(person) || "not in the history"]]), templates,
      consentOf(person, close, refresh),
      may("operator") ? h("div", {}, h("h3", {}, "Rename"), field("New name", name), action("Rename", async () => { await send("PATCH", `/people/${id}`, { name: name.value }); toast("renamed"); close(); await refresh(); })) : null,
      may("admin") ? h("div", {}, h("h3", {}, "Is somebody else, too"), intoField, action("Merge", async () => {
          const other = await personNamed(into.value);
          if (other.id === id) throw new Error(`${other.name} is this person: write another name`);
          await send("POST", `/people/${id}/merge`, { into: other.id });
          toast("merged");
          close();
          await refresh();
        }),
        h("h3", {}, "Erase for good"), field(`Type ${person.name} to confirm`, sure),
        action("Erase", async () => {
          if (sure.value !== person.name) throw new Error("the name is not the same: nothing was erased");
          const receipt = await send("DELETE", `/people/${id}`);
          close();
          await refresh();
          dialog(`${person.name} is removed`, () => receiptOf(receipt));
        }, "danger")) : null);
  });
}

// The day as the clock on the wall has it, not that of UTC.
const today = () => { const now = new Date(); return new Date(now - 60000 * now.getTimezoneOffset()).toISOString().slice(0, 10); };
const lastSeen = (person) => (person.last_seen ? [person.last_seen.here ? "here since " : "last seen ", time(person.last_seen.time), ` (${person.last_seen.source})`] : null);

function consentOf(person, close, refresh) {
  const known = person.consent;
  const by = h("input", { value: known.given_by || "", maxlength: 200 });
  const given = h("input", { type: "date", value: known.given || today() });
  const until = h("input", { type: "date", value: known.until || "" });
  const text = h("textarea", { maxlength: 2000, rows: 2, value: known.text || "" });
  const done = async (note) => { toast(note); close(); await refresh(); };
  const path = `/people/${person.id}`;
  return h("div", {}, h("h3", {}, "Consent"),
    h("p", { class: known.state === "expired" ? "bad" : "soft" }, known.state === "none" ? "no record" : `${known.state}: given by ${known.given_by} on ${known.given}${known.until ? `, until ${known.until}` : ""}`),
    may("operator") ? h("details", {}, h("summary", {}, "Record a consent"), field("Given by", by), field("Given on", given), field("Until (empty: until withdrawn)", until), field("What was agreed to, or which version", text),
      h("p", { class: "row" }, action("Record", async () => {
        await send("PUT", `${path}/consent`, { given_by: by.value, given: given.value, until: until.value || null, text: text.value });
        await done("recorded");
      }, "main"), known.state === "none" ? null : action("Withdrawn", async () => { await send("DELETE", `${path}/consent`); await done("there is no consent any more"); }))) : null,
    may("admin") ? h("p", {}, action(person.do_not_recognise ? "May be recognised again" : "Never recognise", async () => {
      const row = await send("PUT", `${path}/do-not-recognise`, { on: !person.do_not_recognise });
      await done(row.do_not_recognise ? `never recognised; ${row.erased.crops} faces and ${row.erased.review_items} review items erased` : "may be recognised again");
    })) : null);
}

export async function show(place, rest) {
  const grid = h("ul", { class: "faces plain", "aria-label": "People" });
  let cursor = null;
  let turn = 0;
  let later = null;
  const card = (person) => h("li", { class: "card" }, portrait(person),
    h("div", {}, h("strong", {}, person.name)), h("div", { class: "soft" }, `${person.template_count} photo${person.template_count === 1 ? "" : "s"}`),
    person.do_not_recognise ? h("div", { class: "warn" }, "never recognised") : h("div", { class: "soft" }, lastSeen(person)),
    action("Open", async () => { await open(person.id, refresh); }));
  const load = async (limit) => {
    const mine = turn;
    const query = new URLSearchParams({ limit, search: search.value, ...(cursor ? { cursor } : {}) });
    const page = await get(`/people?${query}`);
    if (mine !== turn) return; // something else was asked for meanwhile
    if (!cursor) grid.replaceChildren();
    grid.append(...page.items.map(card));
    cursor = page.next;
    more.hidden = !cursor;
    if (!grid.children.length) grid.append(h("li", {}, search.value ? "nobody is called so" : "nobody is enrolled yet"));
  };
  const refresh = async (limit = Math.min(Math.max(grid.children.length, 100), 500)) => { turn += 1; cursor = null; await load(limit); };
  const soon = () => { clearTimeout(later); later = setTimeout(() => refresh(100).catch((error) => toast(error.message)), 200); };
  const search = h("input", { type: "search", maxlength: 100, oninput: soon });
  const more = action("More", async () => load(100));
  await refresh();
  if (may("operator")) place.append(enrolForm(refresh));
  const [unknown, again] = await unknownPeople(refresh);
  place.append(h("h2", {}, "Enrolled"), field("Search", search), grid, h("p", {}, more), unknown);
  if (rest[0] === "unknown" && rest[1]) await openUnknown(rest[1], async () => { await again(); await refresh(); });
}
