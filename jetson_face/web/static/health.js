import { get } from "./api.js";
import { facts, h } from "./dom.js";

const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);
const section = (title, content) => h("section", { class: "card" }, h("h2", {}, title), content);
const pairs = (object) => facts(Object.entries(object || {}).map(([name, value]) => [name, plain(value)]));

export async function show(place) {
  const grid = h("div", { class: "grid" });
  const draw = async () => {
    const now = await get("/health");
    grid.replaceChildren(
      section("Service", [h("p", { class: now.ready && now.alive ? "good" : "bad" }, now.status), facts([["Version", now.version], ["Up", `${Math.round(now.uptime_s / 60)} min`], ["Last reload", now.reload?.error || now.reload?.message || "none"]])]),
      ...Object.entries(now.cameras || {}).map(([name, camera]) => section(`Camera ${name}`, pairs(camera))),
      section("Engines", pairs(now.engines)), section("Canary", pairs(now.canary)), section("Gallery", pairs(now.gallery)),
      section("Rates, per second", pairs(now.rates)), section("Stages, p95 in ms", pairs(now.stages_p95_ms)),
      section("Events on the disk", pairs(now.outbox)), section("Board", pairs(now.board)),
      ...Object.entries(now.sinks || {}).map(([name, sink]) => section(`Sink ${name}`, pairs(sink))),
      h("section", { class: "card wide" }, h("h2", {}, "Last errors"), now.last_errors?.length ? h("ul", {}, now.last_errors.map((line) => h("li", {}, plain(line)))) : h("p", {}, "none")));
  };
  await draw();
  place.append(grid);
  const timer = setInterval(() => draw().catch(() => {}), 5000);
  return () => clearInterval(timer);
}
