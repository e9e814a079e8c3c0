// Submits one message with nodemailer.
//
// submit.js starttls|tls HOST PORT ROOTS USER PASSWORD FROM TO FILE; without arguments it prints
// nodemailer's version.
'use strict';
const fs = require('fs');
const nodemailer = require('nodemailer');

const [mode, host, port, roots, user, pass, from, to, path] = process.argv.slice(2);
if (!mode) {
    console.log(require('nodemailer/package.json').version);
} else {
    const transport = nodemailer.createTransport({
        host,
        port: Number(port),
        secure: mode === 'tls',
        requireTLS: true, // without it a server that hides STARTTLS gets the password
        tls: { ca: fs.readFileSync(roots) },
        auth: { user, pass },
        name: 'desk.ward.example',
    });
    transport
        .sendMail({ envelope: { from, to }, raw: fs.readFileSync(path) })
        .then((sent) => {
            console.log(sent.response);
            if (sent.rejected.length) throw new Error(`refused: ${sent.rejected}`);
        })
        .catch((error) => {
            console.error(error.message);
            process.exitCode = 1;
        });
}
