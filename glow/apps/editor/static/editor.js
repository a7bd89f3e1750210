// The page: what is looked at, its history, and the requests that draw it.
//
// A look is { a, b, morph, edits }. A face, a or b, is what it can be made from again, whatever the
// server has forgotten: { seed, temperature, label } is drawn by the model, { png, label } was
// uploaded and is kept here as the model sees it.

const HISTORY = 200;
const SAME_CHANGE = 1000; // ms
const PICTURE = 512; // pixels of a saved picture, about
const SETTINGS_BYTES = 8 * 2 ** 20;
const $ = (id) => document.getElementById(id);

let about;
let look = { a: null, b: null, morph: 0, edits: {} };
let slot = "a";
let past = [];
let future = [];
let settled = { slider: null, at: 0 };
let comparing = false;

// ---------------------------------------------------------------- the server

let session = null; // a promise of its id
const uploads = new Map(); // png -> key, in this session

const open_session = async () => (await (await send("api/session", null, {})).json()).session;

async function ask(path, body, type = "application/json") {
  session ??= open_session();
  let id;
  try {
    id = await session;
  } catch (error) {
    session = null;
    throw error;
  }
  return send(`api/${path}`, body, { "X-Session": id, "Content-Type": type });
}

async function send(path, body, headers) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body, headers });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const error = new Error(await reason(answer));
  error.gone = answer.status === 410;
  throw error;
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `The server failed (${answer.status}); its terminal says why.`;
  }
}

async function send_image(bytes, label) {
  const query = label ? `?label=${encodeURIComponent(label)}` : "";
  const answer = await (await ask(`upload${query}`, bytes, "application/octet-stream")).json();
  uploads.set(answer.png, answer.upload);
  return answer;
}

async function wish(face) {
  if (!face?.png) return face;
  if (!uploads.has(face.png)) {
    // what comes back is other bytes where another version or size of the editor saved it
    const { upload } = await send_image(from_base64(face.png), face.label);
    uploads.set(face.png, upload);
  }
  return { upload: uploads.get(face.png) };
}

async function picture(what, { path = "face", scale = 1 } = {}) {
  return again_if_gone(async () => {
    const { a, b, morph, edits } = what;
    const faces = { base: await wish(a), other: await wish(b) };
    return (await ask(path, JSON.stringify({ ...faces, morph, edits, scale }))).blob();
  });
}

// Where the session has expired another begins, with the same images, once for all who noticed.
async function again_if_gone(work) {
  const used = (session ??= open_session());
  try {
    return await work();
  } catch (error) {
    if (!error.gone) throw error;
    if (session === used) {
      session = null;
      uploads.clear();
    }
    return work();
  }
}

const face_alone = (face) => ({ a: face, b: null, morph: 0, edits: {} });

// ---------------------------------------------------------------- drawing

let drawing = false;
let oldest = null; // when the first change came that is not shown yet

function redraw() {
  oldest ??= performance.now();
  if (!drawing) draw_latest();
}

// One request at a time, and only for the latest look: what was passed over is never asked for.
async function draw_latest() {
  drawing = true;
  while (oldest !== null) {
    const start = oldest;
    oldest = null;
    try {
      await paint($("face"), await picture(comparing ? { ...look, edits: {} } : look));
      if ($("status").classList.contains("wrong")) say("");
      performance.measure("move", { start, end: performance.now() });
    } catch (error) {
      complain(error);
    }
  }
  drawing = false;
}

async function paint(canvas, blob) {
  const image = await createImageBitmap(blob);
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").drawImage(image, 0, 0);
  image.close();
}

const painted = new WeakMap(); // canvas -> the face on it

async function paint_face(canvas, face) {
  const key = JSON.stringify(face);
  if (painted.get(canvas) === key) return;
  painted.set(canvas, key);
  if (!face) {
    canvas.width = canvas.height = about.image_size;
    return;
  }
  try {
    const blob = await picture(face_alone(face));
    if (painted.get(canvas) === key) await paint(canvas, blob);
  } catch (error) {
    painted.delete(canvas);
    complain(error);
  }
}

function say(text) {
  $("status").textContent = text;
  $("status").classList.remove("wrong");
}

function complain(error) {
  $("status").textContent = error.message;
  $("status").classList.add("wrong");
}

// ---------------------------------------------------------------- looks and their history

function change(parts) {
  look = { ...look, ...parts };
  show();
  redraw();
}

// Called when a change is complete, as at the end of a drag: what undo goes back to. Steps of the
// same slider that follow each other quickly, as by its arrow keys, are one change.
function settle(slider = null) {
  if (JSON.stringify(past.at(-1)) === JSON.stringify(look)) return;
  const now = performance.now();
  if (slider && slider === settled.slider && now - settled.at < SAME_CHANGE) past.pop();
  settled = { slider, at: now };
  past.push(look);
  past = past.slice(-HISTORY);
  future = [];
  show();
  show_slots();
}

function travel(from, to) {
  settled = { slider: null, at: 0 };
  to.push(from.pop());
  look = past.at(-1);
  show();
  show_slots();
  redraw();
}

const undo = () => past.length > 1 && travel(past, future);
const redo = () => future.length && travel(future, past);

function choose(face) {
  say("");
  change({ [slot]: face, morph: slot === "a" ? 0 : 1 });
  settle();
}

function choose_for(which) {
  slot = which;
  show();
  if (which === "b" && !look.b) say("Choose the second face: an example, a new one or an upload.");
}

// Of an attribute, which may be called as what every object has: `constructor`, `__proto__`.
const amount = (edits, name) => (Object.hasOwn(edits, name) ? edits[name] : 0);

function edit(name, alpha) {
  const edits = { ...look.edits, [name]: alpha };
  if (!alpha) delete edits[name];
  change({ edits });
}

// ---------------------------------------------------------------- showing the controls

const sliders = new Map(); // attribute -> its slider
const drawn = (face) => face && !face.png;

const shown = new Map(); // slider -> the value on it

function show() {
  for (const [name, slider] of sliders) show_alpha(slider, amount(look.edits, name));
  $("undo").disabled = past.length < 2;
  $("redo").disabled = !future.length;
  $("reset").disabled = !Object.keys(look.edits).length;
  const faces = JSON.stringify([slot, look.a, look.b, look.morph]);
  if (shown.get("faces") === faces) return;
  shown.set("faces", faces);
  show_faces();
}

function show_faces() {
  $("morph").value = look.morph;
  fill($("morph"));
  $("morph").disabled = !look.b;
  $("save-gif").disabled = !look.b;
  $("remove").hidden = !look.b;
  $("slot-a").setAttribute("aria-pressed", slot === "a");
  $("slot-b").setAttribute("aria-pressed", slot === "b");
  $("slot-b").classList.toggle("empty", !look.b);
  $("choose").textContent = slot === "a" ? "Choose the first face" : "Choose the second face";
  if (drawn(look[slot])) $("temperature").value = look[slot].temperature;
  show_temperature();
  const key = JSON.stringify(look[slot]);
  for (const button of $("examples").children) {
    button.setAttribute("aria-pressed", button.dataset.face === key);
  }
}

function show_temperature() {
  fill($("temperature"));
  $("temperature-value").textContent = Number($("temperature").value).toFixed(2);
}

// Only what has changed is touched, so that a drag costs the browser little.
function show_alpha(slider, alpha) {
  if (shown.get(slider) === alpha) return;
  shown.set(slider, alpha);
  slider.value = alpha;
  fill(slider);
  slider.nextElementSibling.textContent = signed(alpha);
  slider.parentElement.classList.toggle("moved", alpha !== 0);
}

// Colours the track from its zero to where the thumb is.
function fill(slider) {
  const { min, max, value } = slider;
  const share = (number) => (100 * (number - min)) / (max - min);
  const ends = [share(Math.max(0, min)), share(value)].sort((a, b) => a - b);
  slider.style.setProperty("--from", `${ends[0]}%`);
  slider.style.setProperty("--to", `${ends[1]}%`);
}

function show_slots() {
  paint_face($("slot-a").firstElementChild, look.a);
  paint_face($("slot-b").firstElementChild, look.b);
}

const signed = (alpha) => (alpha > 0 ? "+" : alpha < 0 ? "−" : "") + Math.abs(alpha).toFixed(2);
const words = (name) => {
  const text = name.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};

// What names are called on the page; those that would read alike stay as they are.
function readable(names) {
  const texts = names.map(words);
  const alike = (text) => texts.filter((other) => other === text).length > 1;
  return names.map((name, index) => [name, alike(texts[index]) ? name : texts[index]]);
}

function build_sliders() {
  for (const [name, called] of readable(about.attributes)) {
    const row = document.createElement("label");
    const text = document.createElement("span");
    const slider = document.createElement("input");
    const value = document.createElement("output");
    row.className = "row";
    text.textContent = called;
    text.dir = "auto";
    Object.assign(slider, { type: "range", ...about.alpha, value: 0 });
    slider.dataset.attribute = name;
    slider.addEventListener("input", () => edit(name, Number(slider.value)));
    slider.addEventListener("change", () => settle(slider));
    slider.addEventListener("dblclick", () => put_back(slider));
    row.append(text, slider, value);
    sliders.set(name, slider);
    $("attributes").append(row);
  }
  if (about.attributes.length) return;
  const none = document.createElement("p");
  none.textContent = "This model has no attribute vectors yet: `dvc repro attributes` makes them.";
  $("attributes").append(none);
}

function put_back(slider) {
  edit(slider.dataset.attribute, 0);
  settle();
}

async function build_examples() {
  about.examples.forEach((face, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.face = JSON.stringify(face);
    button.setAttribute("aria-label", `Example ${index + 1}`);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = about.image_size;
    button.append(canvas);
    button.addEventListener("click", () => choose(face));
    $("examples").append(button);
  });
}

async function paint_examples() {
  for (const button of $("examples").children) {
    await paint_face(button.firstElementChild, JSON.parse(button.dataset.face));
  }
}

function tell_about() {
  const { image_size: side, n_bits, n_levels, depth, hidden_channels, test, data } = about;
  $("subtitle").textContent = data.source ? `${data.source}, ${side} × ${side} pixels` : "";
  const known = [about.fingerprint, `weights ${about.weights.slice(0, 12)}`].filter(Boolean);
  const facts = [
    `Model ${about.name} (${known.join(", ")}): ${n_levels} levels ` +
      `of ${depth} steps, ${hidden_channels} channels, images of ${side} × ${side} pixels and ` +
      `${n_bits} bits.`,
  ];
  if (test) {
    const error = test.standard_error.toFixed(3);
    facts.push(`${test.bits_per_dim.toFixed(3)} ± ${error} bits per dimension on test images.`);
  }
  if (data.source) {
    const count = data.count.toLocaleString("en");
    facts.push(`Trained on ${count} images of the data set ${data.source}.`);
  }
  $("about").textContent = facts.join(" ");
  $("credit").textContent = data.credit ? `Images: ${data.credit}.` : "";
}

// ---------------------------------------------------------------- faces in, files out

function new_face() {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
  choose({ seed, temperature: Number($("temperature").value), label: chosen_class() });
}

const chosen_class = () => (about.classes.length ? $("label").value : null);

async function upload(file) {
  if (!file) return;
  if (file.size > about.max_bytes) {
    complain(new Error(`This file is too large: at most ${about.max_bytes / 2 ** 20} MiB.`));
    return;
  }
  say("Reading the image…");
  try {
    const label = chosen_class();
    const bytes = await file.arrayBuffer();
    const { png, bits_per_dim } = await again_if_gone(() => send_image(bytes, label));
    choose({ png, label });
    say(cost(bits_per_dim));
  } catch (error) {
    complain(new Error(`This image cannot be used: ${error.message}`));
  }
}

function cost(bits) {
  const text = `The model needs ${bits.toFixed(2)} bits per dimension for this image`;
  if (!about.test) return `${text}.`;
  const usual = about.test.bits_per_dim;
  const strange = bits > usual + 1 ? " It knows no such images, so edits may look odd." : "";
  return `${text}, ${usual.toFixed(2)} for test images.${strange}`;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function save_picture(path, name) {
  const scale = Math.max(1, Math.floor(PICTURE / about.image_size / (path === "morph" ? 2 : 1)));
  try {
    save(await picture(look, { path, scale }), name);
    say(`${name} is saved.`);
  } catch (error) {
    complain(error);
  }
}

function save_settings() {
  const { fingerprint: model, weights } = about;
  const settings = { format: "glow-editor", version: 1, model, weights, ...look };
  save(new Blob([JSON.stringify(settings, null, 1)], { type: "application/json" }), "face.json");
  say("face.json is saved.");
}

async function load_settings(file) {
  if (!file) return;
  try {
    if (file.size > SETTINGS_BYTES) throw new Error("it is too large");
    const settings = JSON.parse(await file.text());
    if (settings?.format !== "glow-editor" || settings.version !== 1) {
      throw new Error("it was not saved by this editor");
    }
    const loaded = checked(settings);
    const warning = of_other_weights(settings, loaded);
    await picture(loaded); // refused here rather than half shown
    slot = "a";
    change(loaded);
    settle();
    say(`Settings are loaded${warning}.`);
  } catch (error) {
    complain(new Error(`${file.name} cannot be loaded: ${error.message}`));
  }
}

// What to say of settings saved with other weights, in which a seed draws another face, though the
// fingerprint may be the same. Earlier versions saved the fingerprint alone.
function of_other_weights({ model, weights }, { a, b }) {
  if (weights === about.weights) return "";
  if (weights === undefined && model === about.fingerprint) {
    return "; they do not say of which weights, and with others their faces are others";
  }
  if (drawn(a) || (b && drawn(b))) {
    const name = weights === undefined ? model : `weights ${String(weights).slice(0, 12)}`;
    throw new Error(`its faces were drawn by another model (${name}), this one draws others`);
  }
  return "; they were made with another model";
}

// Only what this page would have written: numbers within the sliders, attributes that exist.
function checked({ a, b, morph, edits }) {
  const { min, max } = about.alpha;
  const kept = [];
  for (const name of about.attributes) {
    const alpha = Number(amount(edits ?? {}, name));
    if (!Number.isFinite(alpha)) throw new Error(`${name} is no number`);
    if (alpha) kept.push([name, Math.min(max, Math.max(min, alpha))]);
  }
  const at = Math.min(1, Math.max(0, Number(morph) || 0));
  const faces = { a: checked_face(a), b: b ? checked_face(b) : null, morph: b ? at : 0 };
  return { ...faces, edits: Object.fromEntries(kept) };
}

function checked_face(face) {
  const label = face?.label ?? null;
  if (typeof face?.png === "string") return { png: face.png, label };
  if (Number.isInteger(face?.seed) && Number.isFinite(face.temperature)) {
    return { seed: face.seed, temperature: face.temperature, label };
  }
  throw new Error("it holds no face");
}

function from_base64(text) {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Error("its image is damaged");
  }
}

// ---------------------------------------------------------------- controls

function connect() {
  const on = (id, kind, act) => $(id).addEventListener(kind, act);
  on("morph", "input", () => change({ morph: Number($("morph").value) }));
  on("morph", "change", () => settle($("morph")));
  on("temperature", "input", () => {
    const temperature = Number($("temperature").value);
    if (drawn(look[slot])) change({ [slot]: { ...look[slot], temperature } });
    else show_temperature();
  });
  on("temperature", "change", () => settle($("temperature")));
  on("slot-a", "click", () => choose_for("a"));
  on("slot-b", "click", () => choose_for("b"));
  on("new", "click", new_face);
  on("upload", "click", () => $("image-file").click());
  on("remove", "click", () => {
    slot = "a";
    change({ b: null, morph: 0 });
    settle();
  });
  on("reset", "click", () => {
    change({ edits: {} });
    settle();
  });
  on("undo", "click", undo);
  on("redo", "click", redo);
  on("save-png", "click", () => save_picture("face", "face.png"));
  on("save-gif", "click", () => save_picture("morph", "morph.gif"));
  on("save-json", "click", save_settings);
  on("load-json", "click", () => $("json-file").click());
  on("help", "click", () => $("shortcuts").showModal());
  for (const [id, take] of [["image-file", upload], ["json-file", load_settings]]) {
    on(id, "change", () => {
      const [file] = $(id).files;
      $(id).value = ""; // so that the same file can be chosen again
      take(file);
    });
  }
  for (const id of ["compare", "face"]) {
    on(id, "pointerdown", () => compare(true));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) {
      on(id, kind, () => compare(false));
    }
  }
  connect_drops();
  document.addEventListener("keydown", press);
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "o") compare(false);
    if (event.target.id === "compare" && " Enter".includes(event.key)) compare(false);
  });
}

function compare(wanted) {
  if (comparing === wanted) return;
  comparing = wanted;
  redraw();
}

function connect_drops() {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take_file(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => take_file(event.clipboardData.files[0]));
}

const take_file = (file) => (file?.name.endsWith(".json") ? load_settings(file) : upload(file));

const KEYS = {
  a: () => choose_for("a"),
  b: () => choose_for("b"),
  g: () => $("save-gif").click(),
  j: () => $("save-json").click(),
  l: () => $("load-json").click(),
  m: () => $("morph").focus(),
  n: () => $("new").click(),
  o: () => compare(true),
  p: () => $("save-png").click(),
  r: () => $("reset").click(),
  t: () => $("temperature").focus(),
  u: () => $("upload").click(),
  x: () => $("remove").hidden || $("remove").click(),
  "?": () => $("shortcuts").showModal(),
};

function press(event) {
  if ($("shortcuts").open || event.altKey || event.target.matches("select")) return;
  const key = event.key.toLowerCase();
  let act = KEYS[key];
  if (event.ctrlKey || event.metaKey) {
    act = { z: event.shiftKey ? redo : undo, y: redo }[key];
  } else if (key === "0") {
    const slider = event.target;
    act = slider.dataset?.attribute ? () => put_back(slider) : null;
  } else if (/^[1-9]$/.test(key)) {
    act = () => $("examples").children[key - 1]?.click();
  } else if (event.target.id === "compare" && (key === " " || key === "enter")) {
    act = () => compare(true);
  }
  if (!act) return;
  event.preventDefault();
  if (!event.repeat || event.ctrlKey || event.metaKey) act();
}

// ---------------------------------------------------------------- beginning

async function begin() {
  const answer = await fetch("api/about");
  if (!answer.ok) throw new Error(await reason(answer));
  about = await answer.json();
  $("temperature").value = about.temperature;
  $("class-row").hidden = !about.classes.length;
  $("label").append(...readable(about.classes).map(([name, called]) => new Option(called, name)));
  tell_about();
  build_sliders();
  build_examples();
  connect();
  choose(about.examples[0]);
  await paint_examples();
}

begin().catch(complain);
