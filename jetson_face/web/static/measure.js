import { get, may, send } from "./api.js";
import { action, field, h, row, table, time, toast } from "./dom.js";
import { plot } from "./plot.js";

const names = { interval: "Frame rate against sampling rate", size: "Frame rate against image size", tune: "Settings for a rate" };

function result(run) {
  if (run.error) return h("p", { class: "bad" }, run.error);
  if (run.kind === "tune") {
    const found = run.choice;
    return h("div", {}, h("p", { class: found ? "good" : "warn" }, found ? `N ${found.detection_interval}, image ${found.search_max_side_px || "whole"}, smallest face ${found.min_face_px} px` : "nothing meets the goal"), h("pre", { tabindex: "0", role: "region", "aria-label": "What tune said" }, run.text));
  }
  const byInterval = run.kind === "interval";
  const x = (p) => (byInterval ? p.detection_interval : p.search_max_side_px);
  const points = (run.points || []).filter((p) => x(p)).sort((a, b) => x(a) - x(b));
  const name = byInterval ? "N: one frame in N is searched" : "searched image, longer side in pixels";
  const made = table([byInterval ? "N" : "Pixels", "Decided /s", "Frame p95, ms", "CPU, ms a frame", "Time to a name, s"], names[run.kind]);
  made.body.append(...points.map((p) => row([x(p), `${p.decision_fps.toFixed(1)} (±${(p.decision_fps_spread / 2).toFixed(1)})`, p.age_ms_p95?.toFixed(0) ?? "–", p.cpu_ms_per_frame.toFixed(2), p.time_to_name_s?.toFixed(2) ?? "–"])));
  return h("div", {},
    plot(names[run.kind], name, "frames decided per second", points.map((p) => [x(p), p.decision_fps]), { label: String, log: true }), made.whole);
}

export async function measurements(place) {
  const list = h("div");
  const fps = h("input", { type: "number", min: 0.1, max: 1000, step: "any", value: 10 });
  let last = "";
  const start = async (wanted) => {
    await send("POST", "/tuning/runs", wanted);
    toast("measuring: it takes a minute or more, recognition goes on");
    await refresh();
  };
  const end = async (run) => { const done = await send("DELETE", `/tuning/runs/${run.id}`); toast(done.state); await refresh(); };
  const refresh = async () => {
    const { items } = await get("/tuning/runs?limit=10");
    if (JSON.stringify(items) === last) return;
    last = JSON.stringify(items);
    list.replaceChildren(...items.map((run) => h("section", { class: "card", "aria-label": names[run.kind] },
      h("div", { class: "row" }, h("h3", { class: "grow" }, names[run.kind]), may("operator") ? action(run.state === "running" ? "Cancel" : "Forget", () => end(run)) : null),
      h("p", { class: "soft" }, time(run.started), `, ${run.frame_size.join("×")}, by ${run.by}`, run.took_s ? `, ${run.took_s} s` : "", run.load === undefined || run.load === null ? "" : `, load ${run.load} at its start`),
      run.state === "running" ? h("p", { role: "status" }, "measuring…") : result(run))));
    if (!items.length) list.append(h("p", { class: "soft" }, "Nothing was measured here yet."));
  };
  place.append(h("h2", {}, "Measured on this box"), h("div", { class: "card" },
    h("p", { class: "soft" }, "On a made clip of the camera's size, in a process of its own at the lowest priority: with a busy recogniser beside it the figures are those of what is left."),
    may("operator") ? h("div", { class: "row" }, action("Measure sampling rates", () => start({ kind: "interval" })), action("Measure image sizes", () => start({ kind: "size" })),
      field("Frames decided per second, at least", fps), action("Find settings", () => start({ kind: "tune", decision_fps: Number(fps.value) }))) : null), list);
  await refresh();
  const timer = setInterval(() => refresh().catch(() => {}), 3000);
  return () => clearInterval(timer);
}
