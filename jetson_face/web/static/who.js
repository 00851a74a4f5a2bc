import { get } from "./api.js";
import { field, h } from "./dom.js";

const asked = (name, limit) => `/people?${new URLSearchParams({ search: name, limit })}`;
let made = 0;

// A field for a name, and the whole of it with its label; it offers who is enrolled and has what
// was typed in the name. Ask for a few at a time: a box may know a hundred thousand.
export function personField(label, attributes = {}) {
  const list = h("datalist", { id: `people${(made += 1)}` });
  let later = null;
  let turn = 0;
  const offer = async () => {
    const mine = (turn += 1);
    const found = await get(asked(input.value.trim(), 20)).catch(() => ({ items: [] }));
    if (mine === turn) list.replaceChildren(...found.items.map((p) => h("option", { value: p.name })));
  };
  const soon = () => { clearTimeout(later); later = setTimeout(offer, 200); };
  const input = h("input", { maxlength: 100, autocomplete: "off", list: list.id, oninput: soon, onfocus: offer, ...attributes });
  return [input, h("div", {}, field(label, input), list)];
}

// The one person with this name, letter case aside.
export async function personNamed(name) {
  const wanted = name.trim();
  if (!wanted) throw new Error("write a name first");
  const found = await get(`/people?${new URLSearchParams({ name: wanted })}`);
  if (!found.items.length) throw new Error(`nobody who is enrolled is called ${wanted}`);
  return found.items[0];
}
