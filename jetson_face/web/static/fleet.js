import { every, get, may, send } from "./api.js";
import { action, dialog, facts, field, h, row, table, time, toast } from "./dom.js";
import { personField, personNamed } from "./who.js";

// Seconds after which a box is missed; it says how it is each 30, or as `fleet.status_s` says.
const silent = 120;
const latest = { true: ["good", "up to date"], false: ["warn", "not up to date"], null: ["soft", "not known: the hub cannot be asked"] };
const current = (value) => h("span", { class: latest[value][0] }, latest[value][1]);
const held = (one) => one.held.map((who) => h("li", { class: "warn" }, `${who.person} is held: ${who.why}`));
const plans = (one) => Object.entries(one.plans).map(([to, became]) => h("li", {}, `plans for ${to}: ${became}`));

function thisBox(one) {
  const { link, events } = one;
  const behind = Object.entries(one.behind).filter(([, n]) => n).map(([to, n]) => `${n} for ${to}`).join(", ");
  return h("section", { class: "card", "aria-label": "This box" }, h("h2", {}, `This box: ${one.site}/${one.box}`),
    h("p", { class: link.connected ? "good" : "bad" }, link.connected ? "connected to the hub" : "not connected to the hub", link.since ? [" since ", time(link.since)] : null, link.error ? `: ${link.error}` : null),
    facts([["Gallery and hub", current(one.up_to_date)], ["Still to come", behind || undefined],
      ["Enrolled here", one.people], ["Has the people of", one.scopes.join(", ")], ["Place in the log of people", Object.entries(one.positions).map(([to, n]) => `${to} ${n}`).join(", ") || "at its beginning"],
      ["Events waiting to be sent", events.waiting], ["Events go out", events.error ? h("span", { class: "bad" }, `no: ${events.error}`) : "yes"], ["Erasures not finished here", one.erasing || undefined], ["Server", one.server]]),
    h("ul", {}, held(one), plans(one)),
    h("p", { class: "soft" }, "Up to date: everything that the hub has for this box is in its gallery. Who is enrolled here alone was not sent, and does not count."));
}

function boxRow(one, refresh) {
  const notes = [one.ready === false ? "not ready" : null, one.erasing ? `${one.erasing} to erase` : null].filter((text) => text);
  return [one.name, [time(one.last_seen), h("div", { class: one.age_s > silent ? "bad" : "soft" }, `${Math.round(one.age_s)} s ago`)], one.version, one.scopes.filter((to) => to.startsWith("group:")).map((to) => to.slice(6)).join(", "), one.people, current(one.up_to_date), one.backlog === null ? "no service runs" : one.backlog, one.model, `${one.clock_offset_s > 0 ? "+" : ""}${one.clock_offset_s} s`,
    [notes.join(", "), h("ul", { class: "plain" }, held(one), plans(one)), may("admin") && one.age_s > silent ? action("Gone for good", () => forget(one, refresh)) : null]];
}

function forget(one, refresh) {
  dialog(`${one.name} is gone for good?`, (close) => h("div", {},
    h("p", {}, "It goes off the list, and no erasure waits for its receipt any more. Take its user out of the server's configuration, too: a box that speaks again is on the list again."),
    h("p", {}, action("Take it off the list", async () => { await send("DELETE", `/fleet/boxes/${one.site}/${one.box}`); toast(`${one.name} is forgotten`); close(); await refresh(); }, "danger"))));
}

function reportOf(report) {
  const counted = (one) => [[one.templates, "photos"], [one.crops.length, "crops"], [one.review_items, "review items"], [one.queued_events, "queued events"], [one.history_events, "events of the history"], [one.archive_tracks, "tracks of the archive"]].filter(([n]) => n).map(([n, what]) => `${n} ${what}`).join(", ") || "nothing was there";
  const made = table(["Box", "Erased", "What", "Left in", "Service"], "Receipts");
  made.body.append(...report.receipts.map((one) => row([one.box, [one.complete ? "" : "not complete, ", time(one.time)], counted(one), one.failed.join(", ") || "nothing", one.service])));
  return [h("p", { class: report.complete ? "good" : "bad" }, report.complete ? `Every box has erased them (${report.receipts.length} receipts).` : `No complete receipt from ${report.missing.join(", ")}.`), made.whole];
}

// Asks again as long as somebody looks, and a box is missing.
function watch(report, title, refresh) {
  const said = h("div", { role: "status" }, reportOf(report));
  const box = dialog(title, () => said);
  const ask = async () => {
    report = await send("POST", `/fleet/erasures/${report.person}`);
    said.replaceChildren(...reportOf(report));
  };
  const timer = setInterval(() => { if (!report.complete) ask().catch(() => {}); }, 3000);
  box.addEventListener("close", () => { clearInterval(timer); refresh(); });
}

function erase(person, refresh) {
  const name = person.name || person.id;
  dialog(`Erase ${name} on every box`, (close) => {
    const sure = h("input", { autocomplete: "off" });
    return h("div", {}, h("p", {}, "Their templates, faces and review items go on every box, and their name leaves all events that are kept. A box that is away erases them when it is back. It cannot be undone."),
      field(`Type ${name} to confirm`, sure),
      h("p", {}, action("Erase everywhere", async () => {
        if (sure.value !== name) throw new Error("the name is not the same: nothing was erased");
        const report = await send("DELETE", `/fleet/people/${person.id}`);
        close();
        watch(report, `${name} is erased`, refresh);
      }, "danger")));
  });
}

function people(place, erased) {
  const to = h("input", { list: "scopes", placeholder: "everybody", autocomplete: "off", onchange: () => again() });
  const search = h("input", { type: "search", onchange: () => again() });
  const made = table(["Name", "For", "Photos", "Sent", ""], "People of the fleet");
  let cursor = null;
  const load = async () => {
    const query = new URLSearchParams({ limit: "100", ...(to.value ? { to: to.value } : {}), ...(search.value ? { search: search.value } : {}), ...(cursor ? { cursor } : {}) });
    const page = await get(`/fleet/people?${query}`);
    made.body.append(...page.items.map((one) => row([one.name || `sealed with another key (${one.id})`, one.to, one.photos ?? "", time(one.sent), may("admin") ? action("Erase everywhere", () => erase(one, () => Promise.all([again(), erased()])), "danger") : null])));
    cursor = page.next;
    more.hidden = !cursor;
    if (!made.body.children.length) made.body.append(h("tr", {}, h("td", { colspan: 5 }, "nobody")));
  };
  const more = action("More", load);
  const again = async () => { cursor = null; made.body.replaceChildren(); await load().catch((error) => toast(error.message)); };
  place.append(h("h2", {}, "People of the fleet"), h("div", { class: "row" }, field("Only those for (all, site:NAME, group:NAME)", to), field("Name has", search)), made.whole, more);
  return [load, again];
}

function sending(place, again) {
  const [who, whoField] = personField("Who is enrolled here");
  const all = h("input", { type: "checkbox" });
  const to = h("input", { list: "scopes", value: "all", autocomplete: "off" });
  place.append(h("section", { class: "card", "aria-label": "Send people" }, h("h2", {}, "Send people to the boxes"),
    whoField, field("Everybody", all), field("To (all, site:NAME, group:NAME)", to),
    h("p", {}, action("Send", async () => {
      const people = all.checked ? await every("/people?limit=500", Infinity) : [await personNamed(who.value)];
      const ids = people.map((one) => one.id);
      for (let i = 0; i < ids.length; i += 100) await send("POST", "/fleet/people", { people: ids.slice(i, i + 100), to: to.value });
      toast(`${ids.length} sent to ${to.value}`);
      await again();
    }, "main")),
    h("p", { class: "soft" }, "They are sent as they are now: a later photo or name is sent by sending them again. They cannot move to others: erase them everywhere first.")));
}

function erasures(place) {
  const list = h("ul", { class: "plain", "aria-label": "Erasures" });
  const draw = async () => {
    const found = await every("/fleet/erasures?limit=500");
    list.replaceChildren(...found.map((one) => h("li", { class: "card" }, h("div", {}, h("strong", {}, one.name || one.person), " ", one.time ? time(one.time) : null),
      h("details", { open: !one.complete }, h("summary", { class: one.complete ? "good" : "bad" }, one.complete ? `complete: ${one.receipts.length} receipts` : `missing: ${one.missing.join(", ")}`), reportOf(one)),
      one.complete ? null : action("Ask again", async () => watch(await send("POST", `/fleet/erasures/${one.person}`), `Erasure of ${one.name || one.person}`, draw)))));
    if (!found.length) list.append(h("li", {}, "nobody was erased from the fleet"));
  };
  place.append(h("h2", {}, "Erasures"), list);
  return draw;
}

async function theirPeople(place) {
  let drawErasures = async () => {};
  const [load, again] = people(place, () => drawErasures());
  await load();
  if (may("operator")) sending(place, again);
  if (!may("admin")) return;
  drawErasures = erasures(place);
  await drawErasures();
}

export async function show(place) {
  const own = h("div");
  const rest = h("div");
  const boxes = table(["Box", "Last seen", "Version", "Groups", "People", "Gallery", "Events waiting", "Network", "Clock", "Notes"], "Boxes");
  const scopes = h("datalist", { id: "scopes" });
  const drawOwn = async () => {
    const found = await get("/fleet");
    own.replaceChildren(found.configured ? thisBox(found.here) : h("p", {}, "This box belongs to no fleet."));
    return found.configured;
  };
  const drawBoxes = async () => {
    const found = await every("/fleet/boxes?limit=500");
    boxes.body.replaceChildren(...found.map((one) => row(boxRow(one, drawBoxes))));
    if (!found.length) boxes.body.append(h("tr", {}, h("td", { colspan: 10 }, "no box has said how it is yet")));
    scopes.replaceChildren(...[...new Set(["all", ...found.flatMap((one) => one.scopes)])].map((to) => h("option", { value: to })));
  };
  place.append(own, rest);
  if (!await drawOwn()) return null;
  const again = [drawOwn];
  try {
    await drawBoxes();
    again.push(drawBoxes);
    rest.append(scopes, h("h2", {}, "Boxes"), boxes.whole, h("p", { class: "soft" }, "As each said last that it is, by the hub's clock."));
    await theirPeople(rest);
  } catch (error) {
    rest.append(h("section", { class: "card", "aria-label": "The whole fleet" }, h("h2", {}, "The whole fleet"), h("p", {}, error.message)));
  }
  const timer = setInterval(() => again.forEach((draw) => draw().catch(() => {})), 10000);
  return () => clearInterval(timer);
}
