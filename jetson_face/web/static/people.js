import { encoded, every, get, may, send } from "./api.js";
import { action, dialog, doing, facts, field, h, time, toast } from "./dom.js";

const portrait = (person) => h("img", { class: "portrait", src: `/api/v1/people/${person.id}/portrait?n=${person.template_count}`, alt: `Portrait of ${person.name}`, loading: "lazy" });

function outcome(done) {
  return h("div", { role: "status" },
    h("p", { class: done.added.length ? "good" : "warn" }, `${done.name}: ${done.added.length} added, ${done.already.length} were there already, ${done.refused.length} refused.`),
    h("ul", {}, done.refused.map((one) => h("li", { class: "bad" }, `${one.label}: ${one.reason}`)), done.warnings.map((text) => h("li", { class: "warn" }, text))));
}

function enrolForm(known, refresh) {
  const name = h("input", { required: true, maxlength: 100, list: "names", autocomplete: "off" });
  const files = h("input", { type: "file", accept: "image/*", multiple: true });
  const force = h("input", { type: "checkbox" });
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
  const form = h("form", { class: "card" }, h("h2", {}, "Enrol somebody"), field("Name", name),
    h("datalist", { id: "names" }, known.map((p) => h("option", { value: p.name }))), area,
    h("details", {}, h("summary", {}, "More"), field("Also pictures that look like somebody else, or were erased with a person", force)),
    h("p", {}, button), said);
  form.addEventListener("submit", doing(button, async () => {
    const chosen = [...files.files, ...dropped];
    if (!chosen.length) throw new Error("choose pictures first");
    for (let i = 0; i < chosen.length; i += 8) {
      const pictures = [];
      for (const file of chosen.slice(i, i + 8)) pictures.push({ label: file.name, data: await encoded(file) });
      const done = await send("POST", "/people", { name: name.value, pictures, force: force.checked });
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

async function open(id, everybody, refresh) {
  const person = await get(`/people/${id}`);
  const box = dialog(person.name, (close) => {
    const name = h("input", { value: person.name, maxlength: 100 });
    const into = h("select", {}, h("option", { value: "" }, "choose"), everybody.filter((p) => p.id !== id).map((p) => h("option", { value: p.id }, p.name)));
    const sure = h("input", { autocomplete: "off" });
    const templates = h("ul", { class: "faces plain", "aria-label": "Photos" }, person.templates.map((t) => h("li", { class: "card" },
      h("img", { class: "portrait", src: `/api/v1/people/${id}/templates/${t.id}/portrait`, alt: `Photo ${t.source}`, loading: "lazy" }),
      h("div", { class: "soft" }, `${t.source || "photo"}, quality ${t.quality.toFixed(2)}`), t.warning ? h("div", { class: "warn" }, t.warning) : null,
      may("operator") && person.templates.length > 1 ? action("Take out", async () => { await send("DELETE", `/people/${id}/templates/${t.id}`); close(); await refresh(); open(id, everybody, refresh); }) : null)));
    return h("div", {},
      facts([["Since", time(person.since)], ["Photos", person.template_count]]), templates,
      may("operator") ? h("div", {}, h("h3", {}, "Rename"), field("New name", name), action("Rename", async () => { await send("PATCH", `/people/${id}`, { name: name.value }); toast("renamed"); close(); await refresh(); })) : null,
      may("admin") ? h("div", {}, h("h3", {}, "Is somebody else, too"), field("Move all photos to", into), action("Merge", async () => { if (!into.value) throw new Error("choose a person"); await send("POST", `/people/${id}/merge`, { into: into.value }); toast("merged"); close(); await refresh(); }),
        h("h3", {}, "Erase for good"), field(`Type ${person.name} to confirm`, sure),
        action("Erase", async () => {
          if (sure.value !== person.name) throw new Error("the name is not the same: nothing was erased");
          const receipt = await send("DELETE", `/people/${id}`);
          close();
          await refresh();
          dialog(`${person.name} is removed`, () => receiptOf(receipt));
        }, "danger")) : null);
  });
  return box;
}

export async function show(place) {
  const grid = h("ul", { class: "faces plain", "aria-label": "People" });
  const search = h("input", { type: "search", oninput: () => draw() });
  let everybody = [];
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const shown = everybody.filter((p) => p.name.toLowerCase().includes(wanted));
    grid.replaceChildren(...shown.map((person) => h("li", { class: "card" }, portrait(person),
      h("div", {}, h("strong", {}, person.name)), h("div", { class: "soft" }, `${person.template_count} photo${person.template_count === 1 ? "" : "s"}`),
      action("Open", async () => { await open(person.id, everybody, refresh); }))));
    if (!shown.length) grid.append(h("li", {}, everybody.length ? "nobody is called so" : "nobody is enrolled yet"));
  };
  const refresh = async () => { everybody = await every("/people?limit=500"); draw(); };
  await refresh();
  if (may("operator")) place.append(enrolForm(everybody, refresh));
  place.append(h("h2", {}, "Enrolled"), field("Search", search), grid);
}
