package main

import (
	"io"
	"log"
	"net"
	"net/mail"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// mailbox is a mail server that keeps what it gets.
type mailbox struct {
	address string
	server  *smtp.Server

	mu       sync.Mutex        // guards subjects
	subjects map[string]string // by Message-ID: a mail that comes twice is one
}

func newMailbox() (*mailbox, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mailbox{address: l.Addr().String(), subjects: map[string]string{}}
	m.server = smtp.NewServer(m)
	m.server.Domain, m.server.ReadTimeout, m.server.WriteTimeout = "mail.shop.example", 10*time.Second, 10*time.Second
	m.server.ErrorLog = log.New(io.Discard, "", 0)
	go m.server.Serve(l)
	return m, nil
}

// Close ends the server.
func (m *mailbox) Close() error { return m.server.Close() }

// mails returns the subjects of what came, by Message-ID.
func (m *mailbox) mails() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]string, len(m.subjects))
	for id, subject := range m.subjects {
		all[id] = subject
	}
	return all
}

// NewSession implements smtp.Backend.
func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return letters{m}, nil }

// letters is one connection.
type letters struct{ box *mailbox }

func (letters) Mail(string, *smtp.MailOptions) error { return nil }
func (letters) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (letters) Reset()                               {}
func (letters) Logout() error                        { return nil }

func (l letters) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	l.box.subjects[m.Header.Get("Message-Id")] = m.Header.Get("Subject")
	return nil
}
