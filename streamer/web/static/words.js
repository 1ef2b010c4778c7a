// Numbers and states in words.

export const SIGNS = { ENOUGH: "✔", CONTINUE: "▶", RETAKE: "↻", REALIGN: "⇄", EMPTY: "∅", UNKNOWN: "?" };

export function link(state) {
  if (!state.connected) return ["waiting", state.silent_s === null ? "waiting for the daemon" : `the daemon is silent for ${Math.round(state.silent_s)} s`];
  if (!state.scan) return ["idle", "connected, no scan"];
  if (state.scan.over) return ["over", `scan ${state.scan.state}`];
  return state.scan.state === "acquiring" ? ["live", "live"] : ["idle", `scan ${state.scan.state}`];
}

export function rate(hz) {
  if (!hz) return "–";
  return `${hz >= 10 ? hz.toFixed(0) : hz.toFixed(1)} frames/s`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function lost(frames) {
  const parts = [`${frames.missing} missing`];
  if (frames.corrupt) parts.push(`${frames.corrupt} corrupt`);
  if (frames.duplicate) parts.push(`${frames.duplicate} twice`);
  return parts.join(", ");
}

export function resolution(px, header) {
  if (px === null || px === undefined) return "–";
  return header?.pixel_size_m ? `${px.toFixed(1)} px, ${(px * header.pixel_size_m * 1e6).toPrecision(3)} µm` : `${px.toFixed(1)} px`;
}

export function center(scan, fixed) {
  if (scan?.center_px === null || scan?.center_px === undefined) return "not known yet";
  const how = fixed ? "held by hand" : `confidence ${Math.round(100 * scan.center_confidence)} %`;
  return `${scan.center_px.toFixed(2)} px, ${how}`;
}

export function daemon(state) {
  if (!state?.daemon) return "–";
  const { version, backend, disk_free_bytes, source_connected, ring } = state.daemon;
  const parts = [`${version}, ${backend}`];
  if (disk_free_bytes !== null) parts.push(`${(disk_free_bytes / 1e9).toFixed(0)} GB free`);
  if (source_connected !== null) parts.push(source_connected ? "detector connected" : state.scan?.over === false ? "detector not connected" : "detector not connected, as is usual between scans");
  if (ring.slots) parts.push(`ring ${ring.occupied} of ${ring.slots}`);
  if (state.fault) parts.push(`fault: ${state.fault}`);
  return parts.join(" · ");
}
