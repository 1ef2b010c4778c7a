// Past scans, the newest first, with a thumbnail; each can be opened again.

export function history(list, open) {
  const scans = new Map(), buttons = new Map();

  function set(scan) {
    scans.set(scan.scan_id, scan);
    if (!buttons.has(scan.scan_id)) {
      const button = Object.assign(document.createElement("button"), { type: "button", onclick: () => open(scan.scan_id) });
      const item = document.createElement("li");
      item.append(button);
      list.prepend(item);
      buttons.set(scan.scan_id, button);
      while (list.children.length > 60) {
        const oldest = scans.keys().next().value;
        buttons.get(oldest).parentElement.remove();
        buttons.delete(oldest);
        scans.delete(oldest);
      }
    }
    fill(buttons.get(scan.scan_id), scan);
  }

  function fill(button, scan) {
    const picture = scan.thumbnail
      ? Object.assign(document.createElement("img"), { src: scan.thumbnail, alt: "" })
      : Object.assign(document.createElement("span"), { className: "blank" });
    const name = Object.assign(document.createElement("strong"), { textContent: scan.sample });
    const verdict = Object.assign(document.createElement("span"), { textContent: scan.state === "complete" ? scan.verdict : `${scan.verdict}, ${scan.state}` });
    const why = Object.assign(document.createElement("small"), { textContent: scan.error ?? scan.reasons[0]?.text ?? "" });
    button.title = [scan.scan_id, scan.raw_file, scan.tomogram_file ?? ""].filter(Boolean).join("\n");
    button.replaceChildren(picture, name, verdict, why);
  }

  function show(opened) {
    for (const [scanId, button] of buttons) button.setAttribute("aria-pressed", scanId === opened);
  }

  return { set, show, get: (scanId) => scans.get(scanId), get size() { return scans.size; } };
}
