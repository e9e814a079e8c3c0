// A Haraka plugin: takes every recipient, as the environment says (GREY, SLOW), and stores each
// message in STORE as it came, its envelope and the TLS facts in front.
const fs = require('fs')
const path = require('path')

const seen = new Set()

exports.hook_rcpt = (next, connection, params) => {
  const rcpt = params[0].address()
  if (process.env.GREY && !seen.has(rcpt)) {
    seen.add(rcpt)
    return next(DENYSOFT, 'Greylisted, try again')
  }
  setTimeout(() => next(OK), process.env.SLOW ? 2000 : 0)
}

exports.hook_queue = (next, connection) => {
  const { mail_from, rcpt_to, uuid, message_stream } = connection.transaction
  const name = path.join(process.env.STORE, uuid)
  const partial = path.join(process.env.STORE, 'tmp', uuid)
  const out = fs.createWriteStream(partial)
  out.write(`Return-Path: ${mail_from.format()}\n`)
  for (const rcpt of rcpt_to) out.write(`Delivered-To: ${rcpt.address()}\n`)
  out.write(`X-Received-Over: ${JSON.stringify(connection.tls.cipher)}\n`)
  out.on('close', () => {
    fs.renameSync(partial, name)
    next(OK)
  })
  message_stream.pipe(out, { line_endings: '\r\n' })
}
