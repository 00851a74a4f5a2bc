import { get, on, raw, session } from "./api.js";
import { doing, field, h, toast } from "./dom.js";

const screens = [
  ["live", "Live"], ["events", "Events"], ["people", "People"], ["review", "Review"],
  ["tuning", "Tuning"], ["health", "Health"], ["fleet", "Fleet"], ["privacy", "Privacy & settings"],
];
const main = document.getElementById("main");
const banner = document.getElementById("banner");
let leave = null;
let turn = 0;

on("reachable", (text) => { banner.textContent = text || ""; banner.hidden = !text; });
on("signedOut", () => { if (session.user) { session.user = null; signIn("Your session is over: sign in again."); } });

// What is shown ends, also what is only about to be shown.
function left() {
  leave?.();
  leave = null;
  turn += 1;
  return turn;
}

function signIn(note) {
  left();
  document.getElementById("nav").hidden = true;
  document.getElementById("who").textContent = "";
  const user = h("input", { autocomplete: "username", required: true, value: "admin" });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true });
  const said = h("p", { class: "bad", role: "alert" }, note || "");
  const button = h("button", { class: "main" }, "Sign in");
  const form = h("form", { class: "card" }, h("h1", {}, "Sign in"), field("User", user), field("Password", password), said, button);
  form.addEventListener("submit", doing(button, async () => {
    said.textContent = "";
    try {
      const response = await raw("POST", "/session", { body: { user: user.value, password: password.value } });
      begin(await response.json());
    } catch (error) {
      said.textContent = error.message;
      password.select();
    }
  }));
  main.replaceChildren(form);
  password.focus();
}

function begin(info) {
  Object.assign(session, info);
  const nav = document.getElementById("nav");
  nav.replaceChildren(...screens.map(([key, text]) => h("a", { href: `#/${key}`, hidden: key === "fleet" }, text)));
  nav.hidden = false;
  // A box that belongs to no fleet has nothing to show of one.
  get("/health").then((now) => { nav.querySelector("a[href='#/fleet']").hidden = !now.fleet; }, () => {});
  const out = h("button", { type: "button" }, "Sign out");
  out.addEventListener("click", doing(out, async () => {
    await raw("DELETE", "/session");
    location.reload();
  }));
  document.getElementById("who").replaceChildren(`${session.user} (${session.role}) `, out);
  show();
}

async function show() {
  if (!session.user) return;
  const [key, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const screen = screens.find((one) => one[0] === key) || screens[0];
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.getAttribute("href") === `#/${screen[0]}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${screen[1]} – jetson-face`;
  const mine = left();
  const place = h("div", {}, h("h1", {}, screen[1]));
  main.replaceChildren(place);
  try {
    const module = await import(`./${screen[0]}.js`);
    const end = (await module.show(place, rest)) || null;
    if (mine === turn) leave = end;
    else end?.();
  } catch (error) {
    if (error.status !== 401) place.append(h("p", { class: "bad" }, error.message));
  }
}

addEventListener("hashchange", () => { main.focus({ preventScroll: true }); show(); });
get("/session").then(begin, (error) => (error.status === 401 ? signIn() : toast(error.message)));
