// The WebSocket to the server: texts and pictures come in, wishes go out. It connects again by itself.

const TOKEN = "streamer-token";
const AGAIN_MS = [500, 1000, 2000, 4000];
const REFUSED = 4401;

export function splitPicture(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [header, new Uint8Array(buffer, 4 + length)];
}

export class Connection {
  // on: {text(message), picture(header, bytes), closed(refused)}
  constructor(on) {
    this.on = on;
    this.tries = 0;
    this.token = sessionStorage.getItem(TOKEN) ?? "";
    this.connect();
  }

  connect() {
    const address = new URL("news", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.want({ do: "enter", token: this.token });
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        this.tries = 0;
        this.on.text(JSON.parse(data));
      } else this.on.picture(...splitPicture(data));
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.socket) return;
      this.on.closed(code === REFUSED);
      if (code !== REFUSED) this.timer = setTimeout(() => this.connect(), AGAIN_MS[Math.min(this.tries++, 3)]);
    };
    this.socket = socket;
  }

  enter(token) {
    this.token = token;
    sessionStorage.setItem(TOKEN, token);
    clearTimeout(this.timer);
    const old = this.socket;
    this.connect();
    old.close();
  }

  want(wish) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(wish));
  }

  fetch(path) {
    return fetch(new URL(path, document.baseURI), this.token ? { headers: { "Streamer-Token": this.token } } : {});
  }
}
