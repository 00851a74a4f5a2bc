import { get, may, raw } from "./api.js";
import { action, facts, h } from "./dom.js";
import { walkPast } from "./walk.js";

const rate = (rates, camera, name) => {
  const value = rates[`${camera} ${name}`];
  return value === undefined ? "–" : `${value.toFixed(1)} /s`;
};

function watch(camera, stop) {
  const picture = h("img", { class: "video", alt: `Camera ${camera.name}, annotated` });
  const there = h("ul", { "aria-label": `Faces at ${camera.name}` });
  const told = h("div", {});
  const card = h("section", { class: "card", "aria-label": camera.name }, h("h2", {}, camera.name), picture, h("h3", { class: "soft" }, "There now"), there,
    may("operator") ? action("Enrol by walking past", async () => walkPast(camera.name)) : null, told);
  let after = null;
  let counted = null;
  const loop = async () => {
    while (!stop.signal.aborted) {
      if (document.hidden) { await new Promise((r) => setTimeout(r, 500)); continue; }
      try {
        const width = Math.min(1280, Math.ceil(card.clientWidth * devicePixelRatio) || 640);
        const query = `width=${Math.max(100, width)}${after === null ? "" : `&after=${after}`}`;
        const response = await raw("GET", `/cameras/${camera.name}/frame?${query}`, { signal: stop.signal });
        if (response.status !== 200) continue;
        const head = JSON.parse(response.headers.get("X-Frame"));
        after = head.seq;
        const old = picture.src;
        picture.src = URL.createObjectURL(await response.blob());
        if (old) URL.revokeObjectURL(old);
        there.replaceChildren(...(head.faces.length ? head.faces.map((face) => h("li", { class: `s-${face.state}` },
          `${face.name || face.state}${face.similarity === null ? "" : ` ${face.similarity.toFixed(2)}`}`)) : [h("li", { class: "soft" }, "nobody")]));
      } catch (error) {
        if (error.name === "AbortError" || error.status === 401) return;
        after = null;
        await new Promise((r) => setTimeout(r, 1500));
      }
    }
  };
  loop();
  return { card, tell: (health, tuning) => {
    const now = health.cameras?.[camera.name];
    if (!now) return;
    const moment = performance.now();
    const recognition = counted && now.embedded >= counted[0] ? `${((now.embedded - counted[0]) / ((moment - counted[1]) / 1000)).toFixed(1)} /s` : "–";
    counted = [now.embedded, moment];
    const dropped = Object.entries(now.dropped).map(([why, n]) => `${n} ${why}`).join(", ") || "none";
    told.replaceChildren(facts([
      ["State", now.state],
      ["Capture", rate(health.rates, camera.name, "captured")],
      ["Detection", rate(health.rates, camera.name, "searched")],
      ["Recognition", recognition],
      ["Decision", rate(health.rates, camera.name, "processed")],
      ["Age p95", now.age_p95_ms === null ? "–" : `${now.age_p95_ms.toFixed(0)} ms`],
      ["N", tuning?.detection_interval],
      ["Dropped", dropped],
      ["Last error", now.last_error || undefined],
    ]));
  } };
}

export async function show(place) {
  const stop = new AbortController();
  const cameras = (await get("/cameras")).items;
  if (!cameras.length) place.append(h("p", {}, "The recogniser is starting: no camera yet."));
  const shown = cameras.map((camera) => watch(camera, stop));
  place.append(h("div", { class: "grid large" }, shown.map((one) => one.card)));
  const tell = async () => {
    try {
      const health = await get("/health");
      for (const one of shown) one.tell(health, tuning);
      if (!cameras.length && Object.keys(health.cameras || {}).length) location.reload();
    } catch { /* the banner says it */ }
  };
  let tuning = null;
  get("/tuning").then((found) => { tuning = found; }, () => {});
  await tell();
  const timer = setInterval(tell, 2000);
  return () => { stop.abort(); clearInterval(timer); };
}
