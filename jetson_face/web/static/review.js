import { every, may, send } from "./api.js";
import { action, h, time, toast } from "./dom.js";
import { personField } from "./who.js";

export async function show(place) {
  const chosen = new Set();
  const list = h("div");
  const found = h("div", { role: "status" });
  const [name, nameField] = personField("Name, for somebody else");
  let rows = [];
  let last = [];

  const votes = (answer) => {
    if (!chosen.size) throw new Error("choose faces first");
    if (answer === "other" && !name.value.trim()) throw new Error("write a name first");
    return { answers: [...chosen].map((number) => ({ number, answer, ...(answer === "other" ? { name: name.value.trim() } : {}) })) };
  };
  const undo = action("Undo the last answers", async () => {
    const done = await send("POST", "/review/undo", { numbers: last });
    toast(`${done.undone.length} wait again`);
    last = done.left;
    await refresh();
  });
  const decide = async (answer) => {
    const done = await send("POST", "/review/decide", votes(answer));
    const bad = done.results.filter((one) => !one.done);
    last = done.results.filter((one) => one.done).map((one) => one.number);
    toast(`${last.length} answered${bad.length ? `, ${bad.length} not: ${bad[0].reason}` : ""}`);
    found.replaceChildren();
    await refresh();
  };
  const preview = async (answer) => {
    const told = await send("POST", "/review/preview", votes(answer));
    found.replaceChildren(h("h2", {}, "What would change"),
      h("ul", {}, Object.entries(told.adds).map(([who, n]) => h("li", {}, `${who} gets ${n} photo${n === 1 ? "" : "s"}`)),
        told.changed.map((one) => h("li", {}, `face ${one.number}: ${one.before.name || one.before.state} becomes ${one.after.name || one.after.state}`)),
        told.warnings.map((one) => h("li", { class: "warn" }, `face ${one.number}: ${one.text}`)),
        !told.changed.length && !Object.keys(told.adds).length ? h("li", {}, "nothing about the other faces that wait") : null));
  };
  const draw = () => {
    for (const number of [...chosen]) if (!rows.some((row) => row.number === number)) chosen.delete(number);
    const groups = new Map();
    for (const row of rows) groups.set(row.group ?? row.number, [...(groups.get(row.group ?? row.number) || []), row]);
    list.replaceChildren(...[...groups.entries()].map(([key, members]) => {
      const boxes = [];
      const cards = members.map((row) => {
        const box = h("input", { type: "checkbox", checked: chosen.has(row.number), "aria-label": `Choose face ${row.number}`, onchange: () => (box.checked ? chosen.add(row.number) : chosen.delete(row.number)) });
        boxes.push([box, row.number]);
        return h("li", { class: "card" },
          h("img", { class: "portrait", src: `/api/v1/review/${row.number}/face`, alt: `Face ${row.number}`, loading: "lazy" }),
          row.candidate_id ? h("img", { class: "crop", src: `/api/v1/people/${row.candidate_id}/portrait`, alt: `Portrait of ${row.candidate}`, loading: "lazy" }) : null,
          h("div", {}, row.error ? h("span", { class: "bad" }, row.error) : [`Is it ${row.candidate || "a person who was removed"}?`, h("div", { class: "soft" }, `similarity ${row.similarity.toFixed(3)}, ${row.second > -1 ? `next ${row.second.toFixed(3)}, ` : ""}quality ${row.quality.toFixed(2)}, ${row.source}, `, time(row.time))]),
          may("operator") ? box : null);
      });
      return h("section", { class: "card", "aria-label": `Group ${key}` },
        h("div", { class: "row" }, h("h2", { class: "grow" }, members.length === 1 ? "One face" : `${members.length} faces that look alike`),
          may("operator") ? action("Choose all", async () => { for (const [box, number] of boxes) { box.checked = true; chosen.add(number); } }) : null),
        h("ul", { class: "faces plain" }, cards));
    }));
    if (!rows.length) list.append(h("p", {}, "No face waits for an answer."));
    undo.hidden = !last.length;
  };
  const refresh = async () => {
    rows = await every("/review?limit=200");
    draw();
  };
  await refresh();
  place.append(list);
  if (may("operator")) {
    place.append(h("section", { class: "bar", "aria-label": "Answers" }, nameField,
      h("div", { class: "row" }, action("Yes, it is", () => decide("yes"), "main"), action("No", () => decide("no")), action("Somebody else", () => decide("other")),
        action("Preview yes", () => preview("yes")), action("Preview somebody else", () => preview("other")), undo), found));
  }
}
