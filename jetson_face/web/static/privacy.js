import { get, may, send } from "./api.js";
import { action, facts, field, h, row, table, time, toast } from "./dom.js";

async function paged(place, path, heads, label, cellsOf) {
  const made = table(heads, label);
  let cursor = null;
  const load = async () => {
    const page = await get(`${path}?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    made.body.append(...page.items.map((one) => row(cellsOf(one))));
    cursor = page.next;
    more.hidden = !cursor;
    if (!made.body.children.length) made.body.append(h("tr", {}, h("td", { colspan: heads.length }, "none")));
  };
  const more = action("More", load);
  place.append(made.whole, more);
  await load();
}

async function settings(place) {
  const { values, changed } = await get("/settings");
  const key = h("input", { list: "keys", autocomplete: "off" });
  const value = h("input", { autocomplete: "off" });
  const said = h("div", { role: "status" });
  const typed = () => {
    if (!key.value) throw new Error("which key?");
    let found = value.value;
    try { found = JSON.parse(value.value); } catch { /* a text */ }
    return { changes: { [key.value]: found === "" ? null : found } };
  };
  const difference = (diff) => h("ul", {}, diff.map((one) => h("li", {}, `${one.key}: ${one.before} → ${one.after}`)), diff.length ? null : h("li", {}, "no difference"));
  const kept = Object.entries(values).filter(([name]) => name.startsWith("service.retention.") || ["service.crops", "service.review", "gallery.encrypt"].includes(name));
  place.append(h("h2", {}, "Retention"), h("div", { class: "card" }, facts(kept.map(([name, one]) => [name, String(one)])), h("p", { class: "soft" }, "These are set in the configuration file; they need a restart of the service.")),
    h("h2", {}, "Settings"), h("div", { class: "card" },
      Object.keys(changed).length ? h("p", {}, `Changed on this page: ${Object.entries(changed).map(([name, one]) => `${name} = ${one}`).join(", ")}`) : null,
      h("datalist", { id: "keys" }, Object.keys(values).map((name) => h("option", { value: name }))),
      field("Key", key), field("Value (empty: as in the file)", value),
      h("p", { class: "row" }, action("Check", async () => {
        const told = await send("POST", "/settings/check", typed());
        said.replaceChildren(told.valid ? difference(told.diff) : h("ul", {}, told.errors.map((text) => h("li", { class: "bad" }, text))));
      }), action("Apply", async () => {
        const done = await send("POST", "/settings", typed());
        toast(done.message);
        said.replaceChildren(difference(done.diff));
      }, "main")), said,
      h("details", {}, h("summary", {}, "Every key in force"), facts(Object.entries(values).map(([name, one]) => [name, one === null ? "null" : String(one)])))));
}

async function use(place) {
  const since = h("input", { type: "date", onchange: () => draw() });
  const until = h("input", { type: "date", onchange: () => draw() });
  const links = h("p", { class: "row" });
  const draw = () => {
    const wanted = [since.value ? `&since=${since.value}T00:00:00Z` : "", until.value ? `&until=${until.value}T23:59:59Z` : ""].join("");
    links.replaceChildren(...["csv", "json"].map((format) => h("a", { href: `/api/v1/use/export?format=${format}${wanted}`, download: `use.${format}` }, `Export as ${format.toUpperCase()}`)));
  };
  draw();
  place.append(h("h2", {}, "Log of use"), h("p", { class: "soft" }, "Each period of use with its reference database, the matches with their input, and who verified them: what article 12(3) of the EU AI Act asks for. Days are in UTC."),
    h("div", { class: "row" }, field("From", since), field("To", until)), links);
  const text = { period: (one) => `${(one.cameras || []).join(", ")}, ${one.ended || "goes on"}`, database: (one) => `${one.people} people, ${one.templates} templates, ${one.embedder}, threshold ${one.similarity_min}`, verification: (one) => `${one.actor} ${one.answer} face ${one.review_item}`, search: (one) => `${one.actor} looked for ${one.name || one.person} in recordings: ${one.reason}`, match: (one) => `${one.name || "erased since"} at ${one.camera}, similarity ${one.similarity}` };
  await paged(place, "/use", ["What", "From", "To", "Details"], "Log of use", (one) => [one.record, time(one.time), one.end ? time(one.end) : "", text[one.record]?.(one) || ""]);
}

export async function show(place) {
  place.append(h("h2", {}, "Consent"));
  const none = { none: "no record", valid: "valid", expired: "over: renew it, or erase the person" };
  await paged(place, "/consents", ["Whom", "Consent", "Given by", "On", "Until", "To what", "Recognised"], "Consents", (one) => [one.name, h("span", { class: one.state === "expired" ? "bad" : "" }, none[one.state]), one.given_by || "", one.given || "", one.until || "", one.text || "", one.do_not_recognise ? "never" : "yes"]);
  place.append(h("p", { class: "soft" }, "Consents are recorded, and people put on the do-not-recognise list, under People."));
  if (!may("admin")) {
    place.append(h("p", {}, "The audit log, receipts and settings need the role admin."));
    return;
  }
  await settings(place);
  await use(place);
  place.append(h("h2", {}, "Who did what"));
  await paged(place, "/audit", ["Time", "Who", "What", "Whom", "Details"], "Audit log", (one) => [time(one.time), one.actor, one.action, one.name || one.person, JSON.stringify(one.details)]);
  place.append(h("h2", {}, "Receipts of erasures"));
  await paged(place, "/receipts", ["Time", "Whom", "By", "Complete"], "Receipts", (one) => [time(one.time), one.name, one.actor, one.complete ? "yes" : `no: ${one.failed.join(", ") || one.service}`]);
}
