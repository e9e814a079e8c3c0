// Submits one message with nodemailer.
//
// submit.js CODE FROM TO FILE, CODE being what makes `transport`; without arguments it prints
// nodemailer's version.
'use strict';
const fs = require('fs');
const nodemailer = require('nodemailer');

const [code, from, to, path] = process.argv.slice(2);
if (!code) {
    console.log(require('nodemailer/package.json').version);
} else {
    const transport = new Function('nodemailer', code + '\nreturn transport;')(nodemailer);
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
