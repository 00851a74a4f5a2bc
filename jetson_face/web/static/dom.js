// Builds the page from text: nothing that comes from a camera, a name or a log is ever HTML.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

// Said for a while; what is said next hides nothing that was said before.
export function toast(text) {
  const line = h("div", {}, text);
  document.getElementById("toast").append(line);
  setTimeout(() => line.remove(), 6000);
}

export function field(label, input) {
  if (!input.id) input.id = `f${(field.count = (field.count || 0) + 1)}`;
  return h("div", {}, h("label", { for: input.id }, label), input);
}

export function facts(pairs) {
  return h("dl", {}, pairs.filter((p) => p[1] !== undefined).map(([name, value]) => [
    h("dt", {}, name), h("dd", {}, value === null ? "–" : value instanceof Node ? value : String(value)),
  ]));
}

export function table(heads, label) {
  const body = h("tbody");
  return { body, whole: h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), body)) };
}

export const row = (cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)));

// A dialog that closes itself; `build(close)` gives its content.
export function dialog(title, build) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const box = h("dialog", { "aria-labelledby": "dialog-title" });
  const close = () => box.close();
  box.append(heading, build(close), h("p", {}, h("button", { type: "button", onclick: close }, "Close")));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

export function time(text) {
  const moment = new Date(text);
  const shown = Number.isNaN(moment.getTime()) ? text : moment.toLocaleString();
  return h("time", { datetime: text }, shown);
}

// `work` runs while the button waits; what goes wrong is said.
export function doing(button, work) {
  return async (event) => {
    event?.preventDefault();
    button.disabled = true;
    try { await work(); } catch (error) { toast(error.message); } finally { button.disabled = false; }
  };
}

export function action(text, work, kind = "") {
  const button = h("button", { type: "button", class: kind }, text);
  button.addEventListener("click", doing(button, work));
  return button;
}
