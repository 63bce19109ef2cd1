// Package mail is the mail Component: it sends the mails that committed transactions owe
// (service "mail", without a target) through one relay, by SMTP.
//
// # An effect
//
//	operation   the template
//	key         mails with the same key are sent one after the other
//	arguments   "to": the public name of the user who gets it; all others, and "to", are
//	            the template's
//
// Addresses never stand in an effect, nor in the log: they are part of the user, sealed
// under a key that the SFUs with a mail Component share (service Mail, method SetAddress).
//
// # A template
//
// Three files in the directory of templates, of which .txt or .html may be missing, in the
// language of Go's text/template and html/template:
//
//	receipt.subject   Your order {{.order}}
//	receipt.txt       Dear {{.to}}, thank you for …
//	receipt.html      <p>Dear {{.to}}, …
//
// They are read when the Component starts; one that cannot be used keeps it from starting.
// A value is text, as it stands in the effect; what is missing is an error. Templates that
// transactions of clients may use are named in the configuration; the others are for
// operators and for what the cluster's own Components owe.
//
// # What is promised
//
// At least once: a relay that takes a mail and dies before it says so is given the mail
// again. The Message-ID is made of the effect's key and is the same each time, and so is
// the date: that of the commit. What the relay refuses with a code of 500 and above for the
// mail itself goes into quarantine, and so does what cannot be made into a mail; all else
// is tried again. A mail never holds a header that came out of an argument.
package mail
