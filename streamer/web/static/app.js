// The page: it shows what the server tells, and asks for what the hand wants. Texts from the network are never HTML.

import { MAPS } from "./colours.js";
import { Detector } from "./detector.js";
import { history } from "./history.js";
import { PlaneView } from "./plane.js";
import { Queue } from "./queue.js";
import { Scene } from "./scene.js";
import { Connection } from "./socket.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const look = { map: "grey", low: 0, high: 1 };
const views = new Map();
let state = null, steers = false, canSteer = false, open = null; // open: id of a past scan on show
let place = null, moving = null, movedAt = 0;

const connection = new Connection({
  text(message) {
    ({ hello, state: newState, past, notice, queue: (batch) => queue.set(batch), unseen: (what) => detector.unseen(what) })[message.type]?.(message);
  },
  picture(header, jpeg) {
    // Pictures of a past scan are shown while it is open; those of the daemon while none is.
    const other = header.past ? header.scan_id !== shownId() : open !== null && header.scan_id !== open;
    const done = header.look ? detector.show(header, jpeg) : other ? Promise.resolve() : view(header.plane).show(header, jpeg);
    done.finally(() => {
      connection.want({ do: "drawn" });
      sendMove();
      soon();
    });
  },
  closed(refused) {
    show("link", refused ? "this page needs a token" : "waiting for the server");
    $("link").dataset.link = "waiting";
    if (refused && !$("token-dialog").open) askToken("The token is not right, or one is needed.");
  },
});

const scans = history($("history"), (scanId) => openPast(scanId));
const queue = new Queue($("queue"), scans, (scanId) => openPast(scanId));
const detector = new Detector($("detector-grid"), $("unseen"), look, connection);
const scene = new Scene($("scene"), $("scene-text"), $("scene-controls"), connection, () => place);

function view(name) {
  if (!views.has(name)) {
    const made = new PlaneView(name, look, move);
    views.set(name, made);
    const order = ["xy", "xz", "yz", "free"];
    const after = [...views.values()].find((other) => order.indexOf(other.name) > order.indexOf(name) && order.includes(name));
    $("grid").insertBefore(made.figure, after?.figure ?? null);
  }
  return views.get(name);
}
["xy", "xz", "yz", "free"].forEach(view);

// What the server says.

function hello(message) {
  steers = message.steers;
  canSteer = message.can_steer;
  show("token-button", steers ? "Steering" : "Read only");
  detector.ask();
  refresh();
}

function newState(message) {
  const before = state?.scan;
  state = message;
  if (before && message.scan?.scan_id !== before.scan_id && open === before.scan_id) open = null;
  // A page that opens when the scan is over begins where the daemon's planes were.
  if (!place || (performance.now() - movedAt > 1500 && !open && !cutting())) place = state.place ?? place;
  soon();
}

function past(message) {
  scans.set(message);
  soon();
}

function notice(message) {
  show("notice", message.text);
  $("notice").hidden = !message.text;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => ($("notice").hidden = true), 10_000);
}

// Which scan is on show, and whether its planes can be moved.

const shownId = () => open ?? state?.scan?.scan_id ?? null;
const shownScan = () => (open ? scans.get(open) : state?.scan);
const cutting = () => Boolean(shownScan()?.over && shownScan()?.tomogram_file);
const movable = () => Boolean(place && volume() && (cutting() || (steers && !shownScan()?.over && !open)));
const volume = () => state?.volume;

function openPast(scanId) {
  open = scanId === state?.scan?.scan_id && !state.scan.over ? null : scanId;
  connection.want({ do: "open", scan_id: scanId });
  if (cutting() && place) sendMove((moving = place));
  scene.scan(shownScan());
  refresh();
}

// Moving the planes: one wish is on its way at a time, and only the newest waits.

function move(change) {
  if (!movable()) return;
  const free = { azimuth_deg: 0, tilt_deg: 45, offset: 0, ...place.free, ...change.free };
  const { rows, columns } = volume();
  const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value)));
  const next = { ...place, ...change };
  place = {
    x: inside(next.x, columns), y: inside(next.y, columns), z: inside(next.z, rows),
    free: change.free || place.free ? free : null,
  };
  moving = place;
  movedAt = performance.now();
  follow();
  // At most one wish in 40 ms: the server keeps the newest of those that come while it asks the daemon.
  const wait = 40 - (movedAt - (sendMove.sentAt ?? -40));
  clearTimeout(sendMove.timer);
  if (wait <= 0) sendMove();
  else sendMove.timer = setTimeout(sendMove, wait);
}

function sendMove() {
  if (!moving) return;
  connection.want(cutting() ? { do: "cut", scan_id: shownId(), place: moving } : { do: "move", place: moving });
  moving = null;
  sendMove.sentAt = performance.now();
}

function follow() {
  const can = movable();
  const shown = can && !place.free ? { ...place, free: { azimuth_deg: 0, tilt_deg: 45, offset: 0 } } : place;
  for (const each of views.values()) each.follow(shown, volume(), can);
  view("free").figure.classList.toggle("unused", !place?.free);
}

// Drawing.

function show(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function soon() {
  soon.timer ??= requestAnimationFrame(() => {
    soon.timer = undefined;
    refresh();
  });
}

function refresh() {
  const scan = shownScan();
  if (state) {
    const [link, text] = words.link(state);
    $("link").dataset.link = link;
    show("link", text);
  }
  show("title", scan ? `${scan.sample} · ${scan.scan_id}` : "no scan yet");
  verdict(scan);
  numbers(scan);
  const old = !open && state?.scan && state.pictures_of && state.pictures_of !== state.scan.scan_id;
  show("stale", old ? "the last result stays until the first picture of this scan comes" : open ? `a past scan: ${scan?.sample ?? open}` : "");
  $("stale").hidden = !$("stale").textContent;
  $("follow").hidden = !open;
  for (const each of views.values()) each.stale(Boolean(old));
  scans.show(open, state?.scan?.scan_id);
  $("no-history").hidden = scans.size > 0;
  queue.show();
  show("hint", hint(scan));
  scene.scan(scan);
  follow();
}

function hint(scan) {
  if (movable()) return cutting() ? "Move the planes through the tomogram: drag, wheel, keys or sliders." : "Move the planes: drag, wheel, keys or sliders; the daemon reconstructs them at once.";
  if (!scan) return "";
  if (scan.over) return "This scan has no tomogram on disk to cut through.";
  return canSteer ? "Only looking. Enter the token to move the planes." : "Only looking.";
}

function verdict(scan) {
  const decision = scan?.verdict ?? "";
  $("verdict").dataset.verdict = decision;
  show("word", decision || "NO VERDICT");
  show("sign", words.SIGNS[decision] ?? "…");
  const reasons = scan?.error ? [{ text: scan.error, advice: "" }] : (scan?.reasons ?? []);
  const key = JSON.stringify([reasons, scan?.final]);
  if (verdict.key === key) return;
  verdict.key = key;
  $("reasons").replaceChildren(...reasons.slice(0, 8).map(({ text, advice }) => {
    const item = document.createElement("li");
    item.append(scan.final || scan.over ? text : `so far: ${text}`);
    if (advice) item.append(" → ", Object.assign(document.createElement("em"), { textContent: advice }));
    return item;
  }));
}

function numbers(scan) {
  show("angles", scan ? `${scan.angles} of ${scan.of}` : "–");
  $("progress").value = scan?.of ? Math.min(1, scan.angles / scan.of) : 0;
  const running = scan && !scan.over && !open;
  show("rate", running ? words.rate(state.rate_hz) : "–");
  show("left", running ? words.duration(state.left_s) : "–");
  show("lost", scan ? words.lost(scan.frames) : "–");
  $("lost").className = scan && scan.frames.missing + scan.frames.corrupt > 0 ? "alarm" : "";
  show("resolution", words.resolution(scan?.resolution_px, [...views.values()][0]?.header));
  show("center", words.center(scan, state?.center_fixed));
  show("raw-file", scan?.raw_file || "–");
  show("tomogram-file", scan?.tomogram_file ?? "–");
  show("daemon", words.daemon(state));
  $("steering-fields").disabled = !(steers && running);
  if (running && scan.center_px !== null && document.activeElement !== $("center-px")) $("center-px").value = scan.center_px.toFixed(2);
}

// What the hand wants besides planes.

function centre(px) {
  if (steers) connection.want({ do: "center", px });
}
const nudge = (by) => state?.scan?.center_px != null && centre(state.scan.center_px + by);
$("center-less").onclick = () => nudge(-0.5);
$("center-more").onclick = () => nudge(0.5);
$("center-auto").onclick = () => centre(null);
$("center-px").onchange = (event) => event.target.value !== "" && centre(Number(event.target.value));
$("steering").onsubmit = $("picture").onsubmit = (event) => event.preventDefault();

for (const [id, abort, text] of [
  ["stop", false, "The daemon takes what has come as the whole scan, makes the tomogram and judges it. Frames that still come are not used."],
  ["abort", true, "The scan is closed as aborted. Its frames are kept in the raw file."],
]) $(id).onclick = () => {
  const scan = state?.scan;
  if (!scan) return;
  show("sure-text", `${scan.sample}, ${scan.scan_id}: ${text}`);
  $("sure-dialog").returnValue = "no";
  $("sure-dialog").onclose = () => $("sure-dialog").returnValue === "yes" && connection.want({ do: "stop", scan_id: scan.scan_id, abort });
  $("sure-dialog").showModal();
};

function askToken(text) {
  show("token-text", text);
  $("token").value = "";
  $("token-dialog").returnValue = "";
  $("token-dialog").showModal();
}
$("token-button").onclick = () => askToken("With the steering token this page can move the planes, set the centre and end the scan.");
$("token-dialog").onclose = () => {
  const { returnValue } = $("token-dialog");
  if (returnValue) connection.enter(returnValue === "enter" ? $("token").value.trim() : "");
  $("token").value = "";
};
$("follow").onclick = () => {
  open = null;
  connection.enter(connection.token); // the pictures of now come with the greeting
};

// The picture.

for (const map of MAPS) $("map").append(new Option(map, map));
function repaint() {
  Object.assign(look, { map: $("map").value, low: $("low").value / 100, high: Math.max($("high").value, Number($("low").value) + 1) / 100 });
  for (const each of views.values()) each.draw();
  detector.draw();
  scene.look(look);
}
$("map").onchange = $("low").oninput = $("high").oninput = repaint;
function autoLevels() {
  [$("low").value, $("high").value] = [0, 100];
  repaint();
}
$("auto-levels").onclick = autoLevels;

async function save() {
  for (const { name, canvas, header } of views.values()) {
    if (!header) continue;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)));
    link.download = `streamer_${header.scan_id}_${name}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

// Tabs and keys.

const TABS = ["planes", "volume", "detector"];
function choose(chosen) {
  for (const name of TABS) {
    $(`tab-${name}`).setAttribute("aria-selected", name === chosen);
    $(`tab-${name}`).tabIndex = name === chosen ? 0 : -1;
    $(name).hidden = name !== chosen;
  }
  scene.visible(chosen === "volume");
  detector.visible(chosen === "detector");
}
TABS.forEach((name) => ($(`tab-${name}`).onclick = () => choose(name)));
$("tabs").onkeydown = (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.target.role !== "tab") return;
  const next = TABS[(TABS.findIndex((name) => $(name).hidden === false) + by + TABS.length) % TABS.length];
  choose(next);
  $(`tab-${next}`).focus();
};
$("keys-button").onclick = () => $("keys-dialog").showModal();
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || /INPUT|SELECT/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
  ({
    a: autoLevels, s: save, 1: () => choose("planes"), 2: () => choose("volume"), 3: () => choose("detector"),
    "?": () => $("keys-dialog").showModal(), "[": () => nudge(-0.5), "]": () => nudge(0.5),
    m: () => {
      $("map").selectedIndex = ($("map").selectedIndex + 1) % MAPS.length;
      repaint();
    },
  })[event.key.toLowerCase()]?.();
});
refresh();
