import { every, get, may, send } from "./api.js";
import { action, dialog, facts, field, h, time, toast } from "./dom.js";
import { personField } from "./who.js";

const here = "/unknown-people";
const counted = (n, one, many) => `${n} ${n === 1 ? one : many}`;
const erased = (done) => `${counted(done.people, "person", "people")} erased, with ${counted(done.pictures, "picture", "pictures")}${done.complete ? "" : `; not everything: ${done.failed.join(", ")}`}`;

export async function openUnknown(id, refresh) {
  const person = await get(`${here}/${id}`);
  dialog("Not enrolled, seen before", (close) => {
    const [name, nameField] = personField("Name, of somebody enrolled or new");
    const told = h("div", { role: "status" });
    const wanted = () => {
      if (!name.value.trim()) throw new Error("write a name first");
      return { name: name.value.trim() };
    };
    const done = async (note) => { toast(note); close(); await refresh(); };
    return h("div", {},
      h("ul", { class: "faces plain", "aria-label": "Kept faces" }, person.faces.map((face, n) => h("li", { class: "card" },
        h("img", { class: "portrait", src: `/api/v1${here}/${id}/faces/${n}?t=${face.time}`, alt: `Face ${n + 1}`, loading: "lazy" }),
        h("div", { class: "soft" }, `${face.source}, quality ${face.quality.toFixed(2)}, `, time(face.time))))),
      facts([["Visits", person.visits], ["First", time(person.first)], ["Last", time(person.last)]]),
      h("details", {}, h("summary", {}, "Visits"), h("ul", {}, person.sightings.map((one) => h("li", {}, time(one.last), one.seconds >= 1 ? `, for ${Math.round(one.seconds)} s` : "")))),
      may("operator") ? h("div", {}, h("h3", {}, "Who is it?"), nameField,
        h("p", { class: "row" }, action("Give this name", async () => {
          const now = await send("POST", `${here}/${id}/name`, wanted());
          await done(`${now.name} has ${counted(now.added, "photo", "photos")} more${now.reason ? `; not all: ${now.reason}` : ""}`);
        }, "main"), action("Preview", async () => {
          const found = await send("POST", `${here}/${id}/preview`, wanted());
          told.replaceChildren(h("ul", {}, Object.entries(found.adds).map(([who, n]) => h("li", {}, `${who} gets ${counted(n, "photo", "photos")}`)),
            found.changed.map((one) => h("li", {}, `face ${one.number} of Review: ${one.before.name || one.before.state} becomes ${one.after.name || one.after.state}`)),
            found.warnings.map((one) => h("li", { class: "warn" }, one.text))));
        })), told) : null,
      may("admin") ? h("div", {}, h("h3", {}, "Forget"), action("Erase for good", async () => done(erased(await send("DELETE", `${here}/${id}`))), "danger")) : null);
  });
}

function eraseAll(refresh) {
  dialog("Erase everybody who is not enrolled", (close) => {
    const sure = h("input", { autocomplete: "off" });
    return h("div", {}, h("p", {}, "Faces, visits and the ids in events go for good. Who is enrolled stays."), field("Type all to confirm", sure),
      action("Erase them all", async () => {
        if (sure.value !== "all") throw new Error("the word is not all: nobody was erased");
        const done = await send("DELETE", here);
        close();
        toast(erased(done));
        await refresh();
      }, "danger"));
  });
}

// The section of the screen People; `changed` is called when somebody got a name.
export async function unknownPeople(changed) {
  const grid = h("ul", { class: "faces plain", "aria-label": "Not enrolled, seen before" });
  const all = action("Erase them all", async () => eraseAll(refresh), "danger");
  const section = h("section", { "aria-label": "People who are not enrolled" }, h("h2", {}, "Not enrolled, seen before"),
    h("p", { class: "soft" }, "Who is remembered without a name, where the setting unknown.remember is on; the one seen last comes first."), grid, h("p", {}, all));
  async function refresh() {
    const rows = await every(`${here}?limit=500`);
    grid.replaceChildren(...rows.map((one) => h("li", { class: "card" },
      one.face_count ? h("img", { class: "portrait", src: `/api/v1${here}/${one.id}/portrait?t=${one.last}`, alt: "Face of somebody who is not enrolled", loading: "lazy" }) : null,
      h("div", {}, h("strong", {}, counted(one.visits, "visit", "visits"))), h("div", { class: "soft" }, "last ", time(one.last), one.source ? ` (${one.source})` : ""),
      action("Open", async () => openUnknown(one.id, async () => { await refresh(); await changed(); })))));
    all.hidden = !rows.length || !may("admin");
    if (!rows.length) grid.append(h("li", {}, "nobody is remembered"));
  }
  await refresh();
  return [section, refresh];
}
