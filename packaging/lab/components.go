package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// componentsPage is what a developer of the site reads and types.
	componentsPage = "packaging/doc/components.md"
	// pageWithin is what the page promises.
	pageWithin = 10 * time.Minute
	goRoot     = "usr/local/go"
	goProxy    = "srv/goproxy"
)

// componentsPackages are Debian's, on the machine where components are built.
var componentsPackages = []string{"make", "python3"}

// typed are the blocks of a page that its reader types.
var typed = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// componentsSteps: what components.md says, typed at the first machine; then the program
// is asked for by somebody who may not, killed, and crashed by a request.
func componentsSteps(p plan) []step {
	first := p.SFUs[0]
	failures := []string{"Component failed", "Request is in quarantine"}
	return []step{
		{Name: "apt install rrts-dev", Planned: true, Do: prepareDeveloper},
		{Name: "components.md", Planned: true, Do: readComponents, Seen: []seen{
			{Machine: first.Machine, SFU: first.Name, Text: "Engine drains"},
		}},
		{Name: "an auditor orders", Planned: true, Do: func(ctx context.Context, w *world) error {
			if _, err := w.operator(ctx, first.Machine, "rrts user add Books --role auditor", "books@shop\na long password\n"); err != nil {
				return err
			}
			_, err := w.typed(ctx, first.Machine, `cd /root/orders
if RRTS_LOGIN_NAME=books@shop RRTS_PASSWORD='a long password' go run -mod=mod ./try --customer 1001 --shop 2001 >refused.txt 2>&1; then exit 1; fi
grep "the user's role may not call" refused.txt`)
			return err
		}},
		{Name: "kill the program", Planned: true, Errors: failures, Do: func(ctx context.Context, w *world) error {
			_, err := w.typed(ctx, first.Machine, `cd /root/orders; pkill -KILL -x orders; `+orderUntilPaid)
			return err
		}, Seen: []seen{
			{Machine: first.Machine, SFU: first.Name, Alarm: "component-failed@orders"},
		}},
		{Name: "a request that crashes it", Planned: true, Errors: failures, Do: func(ctx context.Context, w *world) error {
			_, err := w.typed(ctx, first.Machine, `cd /root/orders
sed -i 's|^	if in.Pieces < 1|	if in.Item == "bomb" {\n		panic("it was a bomb")\n	}\n&|' main.go
make && make install && rrts component restart orders
if go run -mod=mod ./try --customer 1001 --shop 2001 --item bomb; then exit 1; fi
`+orderUntilPaid)
			return err
		}, Seen: []seen{
			{Machine: first.Machine, SFU: first.Name, Alarm: "requests-quarantined"},
		}},
	}
}

// orderUntilPaid places orders until the program, which is being started again, takes one.
const orderUntilPaid = `for n in 1 2 3 4 5 6 7 8 9 10; do
  if go run -mod=mod ./try --customer 1001 --shop 2001 --item "order $n"; then exit 0; fi
done
exit 1`

// prepareDeveloper installs what a developer needs. Go and the one library that
// components take from the network come from the machine that runs the lab.
func prepareDeveloper(ctx context.Context, w *world) error {
	m := w.machine(w.plan.SFUs[0].Machine)
	if _, err := w.operator(ctx, m.Name(), "apt install -y rrts-dev"); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env: %w: the machine that runs the lab needs Go", err)
	}
	root, cache, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	const library = "github.com/klauspost/compress/@v"
	for from, to := range map[string]string{root: goRoot, filepath.Join(cache, "cache/download", library): filepath.Join(goProxy, library)} {
		to = filepath.Join(m.Root(), to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("copying %s: %w: %s", from, err, out)
		}
	}
	return m.WriteFile("root/.developer", []byte(developerShell), 0o600)
}

// readComponents types what the page says, block by block, within the time that it
// promises.
func readComponents(ctx context.Context, w *world) error {
	page, err := os.ReadFile(componentsPage)
	if err != nil {
		return err
	}
	began := time.Now()
	machine := w.plan.SFUs[0].Machine
	var all strings.Builder
	for _, block := range typed.FindAllStringSubmatch(string(page), -1) {
		out, err := w.typed(ctx, machine, block[1])
		if err != nil {
			return err
		}
		all.WriteString(out)
	}
	for _, want := range []string{"paid 750 as transaction ", "paid 250 as transaction ", "orders runs anew on alpha"} {
		if !strings.Contains(all.String(), want) {
			return fmt.Errorf("%q is not in what %s prints", want, componentsPage)
		}
	}
	took := time.Since(began)
	w.say("a message and two components, from nothing: %.0f s", took.Seconds())
	if took > pageWithin {
		return fmt.Errorf("%s took %v, it promises %v", componentsPage, took.Round(time.Second), pageWithin)
	}
	return nil
}

// developerShell is what a developer's shell begins with: it goes on in the directory and
// with the variables in which the one before it ended.
const developerShell = `set -eu
export HOME=/root PATH=$PATH:/` + goRoot + `/bin GOPROXY=file:///` + goProxy + ` GONOSUMDB=* GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
[ ! -e .typed ] || . ./.typed
trap 'here=$PWD; { export -p; echo cd "$here"; } >/root/.typed' EXIT
`

// typed types lines in the shell of a developer.
func (w *world) typed(ctx context.Context, machine, lines string) (string, error) {
	return w.operator(ctx, machine, ". ./.developer\n"+lines)
}

// componentsEnd ends the payments and compares the states of all SFUs: what the program
// paid no client of the lab was told of, so that they are audited by themselves.
func componentsEnd(ctx context.Context, w *world, r *report) error {
	w.say("the payments end; the states are compared")
	answers, err := w.payer.stop()
	if err != nil {
		return err
	}
	r.attribute(answers)
	r.Submitted = len(answers)
	for i := range answers {
		if answers[i].State == txnpb.StateCommitted {
			r.Committed++
		}
	}
	if err := errors.Join(w.converge(ctx), w.stopAll(ctx)); err != nil {
		return err
	}
	var first stateDigest
	for i, s := range w.plan.SFUs {
		d, err := w.digest(ctx, s)
		switch {
		case err != nil:
			return err
		case i == 0:
			first = d
		case d != first:
			r.Faults = append(r.Faults, fmt.Sprintf("%s has another state than %s: %+v, %+v", s.Name, w.plan.SFUs[0].Name, d, first))
		}
	}
	r.Audit = "ok"
	return w.complaints(ctx, r)
}
