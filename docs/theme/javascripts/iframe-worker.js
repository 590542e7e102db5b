// The search runs in a worker, which browsers refuse to pages that are opened from a disk: there a hidden frame takes
// its place. The name tells Zensical's offline plugin that it need not fetch such a script from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true })
      this.ready = new Promise(resolve => this.frame.addEventListener("load", resolve))
      // One argument is a worker speaking to its page, two are the page speaking to the frame.
      this.frame.srcdoc = `<script>
        const send = window.postMessage.bind(window)
        window.postMessage = (data, ...to) => to.length ? send(data, ...to) : parent.postMessage(data, "*")
      </script><script src="${new URL(url, location)}"></script>`
      window.addEventListener("message", event => {
        if (event.source !== this.frame.contentWindow) return
        const told = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(told)
        this.onmessage?.(told)
      })
      document.head.append(this.frame)
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.postMessage(data, "*"))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
