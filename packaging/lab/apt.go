package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"virtualservicesinc.com/packaging/lab/nspawn"
)

// aptHost is where the machines find the repository.
const aptHost = "apt.example"

// sourceURI is the line of a deb822 source that says where the repository is.
var sourceURI = regexp.MustCompile(`(?m)^URIs:.*$`)

// serveApt serves the repository of `make apt-repo` in the management network until
// the returned function is called.
func (w *world) serveApt(ctx context.Context) (stop func(), err error) {
	source, err := os.ReadFile(filepath.Join(w.o.repository, "rrts.sources"))
	if err != nil {
		return nil, fmt.Errorf("the repository: %w: run `make deb apt-repo`", err)
	}
	// As who puts the repository on a server does.
	source = sourceURI.ReplaceAll(source, []byte("URIs: http://"+aptHost))
	l, err := w.site.Listen(ctx, lanAddress+":80")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(w.o.repository)))
	mux.HandleFunc("/rrts.sources", func(to http.ResponseWriter, r *http.Request) {
		http.ServeContent(to, r, "rrts.sources", time.Time{}, bytes.NewReader(source))
	})
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends with Close
	}()
	return func() { server.Close(); <-done }, nil
}

// withoutDebian takes Debian's own sources from a machine: the lab needs no network
// outside, and its machines have everything that rrts depends on.
func withoutDebian(m *nspawn.Machine) error {
	paths, err := filepath.Glob(filepath.Join(m.Root(), "etc/apt/sources.list*"))
	for _, path := range paths {
		if err == nil {
			err = os.RemoveAll(path)
		}
	}
	if err == nil {
		err = os.MkdirAll(filepath.Join(m.Root(), "etc/apt/sources.list.d"), 0o755)
	}
	return err
}
