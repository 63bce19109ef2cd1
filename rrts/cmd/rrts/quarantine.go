package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

func (c *cli) quarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "requests that crashed their Component three times",
		Long: `Requests that crashed their Component three times. The SFU where that happened keeps each sealed on its
disk, refuses it when its caller sends it again, and serves all others; the alarm requests-quarantined
stands. Their callers were told that they are in quarantine. What is owed outside the ledger has a
quarantine of its own: rrts effects.`,
	}
	cmd.AddCommand(c.quarantineListCommand(), c.quarantineShowCommand(), c.quarantineRetryCommand(), c.quarantineDiscardCommand())
	return cmd
}

// heldRow is a request in quarantine at an SFU; in JSON, one line of rrts quarantine list.
type heldRow struct {
	ID         string     `json:"id"`
	SFU        string     `json:"sfu"`
	Component  string     `json:"component,omitempty"`
	Service    uint32     `json:"service,omitempty"`
	Method     uint32     `json:"method,omitempty"`
	Name       string     `json:"name,omitempty"` // of service and method, where the SFU knows them
	Idempotent bool       `json:"idempotent,omitempty"`
	Notice     bool       `json:"notice,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
	Crashes    uint32     `json:"crashes,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	BodyBytes  uint64     `json:"body_bytes"`
	Error      string     `json:"error,omitempty"` // why the record cannot be read

	number uint16 // of the SFU
	all    *enginepb.HeldRequest
}

// heldDetail is what rrts quarantine show adds.
type heldDetail struct {
	heldRow
	Principal uint64 `json:"principal,omitempty"`
	Role      string `json:"role"`
	From      uint32 `json:"from,omitempty"`
	Trace     string `json:"trace,omitempty"`
	Body      string `json:"body,omitempty"` // without the values of sensitive fields; empty where the type is not known
}

func heldRowOf(m *config.Member, h *enginepb.HeldRequest) heldRow {
	r := heldRow{ID: h.Id, SFU: m.Name, number: m.Number, Component: h.Component, Service: h.Service, Method: h.Method, Name: h.Name,
		Idempotent: h.Idempotent, Notice: h.Notice, Crashes: h.Crashes, Reason: h.Reason, BodyBytes: h.BodyBytes, Error: h.Error, all: h}
	if h.Since != 0 {
		r.Since = new(time.Unix(0, int64(h.Since)).UTC())
	}
	return r
}

func heldDetailOf(r heldRow) *heldDetail {
	d := &heldDetail{heldRow: r, Principal: r.all.Principal, Role: roleName(r.all.Role), From: r.all.From, Body: r.all.Body}
	if trace := hex.EncodeToString(r.all.Trace); strings.Trim(trace, "0") != "" {
		d.Trace = trace
	}
	return d
}

// method is the method by its name, or by its numbers where that is not known.
func (r *heldRow) method() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.Service != 0:
		return fmt.Sprintf("%d.%d", r.Service, r.Method)
	}
	return ""
}

func (r *heldRow) since() string {
	if r.Since == nil {
		return ""
	}
	return r.Since.Local().Format(time.DateTime)
}

func (c *cli) quarantineListCommand() *cobra.Command {
	var via string
	cmd := &cobra.Command{
		Use:     "list [SFU]",
		Short:   "list the requests in quarantine, of all SFUs or of one",
		Example: "  rrts quarantine list",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("name one SFU, or none for all: %s [SFU]", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at := ""
			if len(args) > 0 {
				at = args[0]
			}
			return c.everyEngine(cmd.Context(), via, at, func(ask *engines) error {
				rows, err := ask.list(cmd.Context())
				return errors.Join(c.printHeld(rows, err == nil), err)
			})
		},
	}
	viaFlag(cmd, &via)
	return cmd
}

// printHeld prints a list; whole says that it is not known to lack some.
func (c *cli) printHeld(rows []heldRow, whole bool) error {
	var table [][]string
	for i := range rows {
		r := &rows[i]
		if c.json {
			if err := c.out.Object(r); err != nil {
				return err
			}
			continue
		}
		table = append(table, []string{r.ID, r.SFU, r.Component, r.method(), r.since(), strconv.Itoa(int(r.Crashes)), r.Reason + r.Error})
	}
	switch {
	case c.json, len(rows) == 0 && !whole:
		return nil
	case len(rows) == 0:
		return c.out.Text("no requests in quarantine\n")
	}
	return c.out.Table([]string{"REQUEST", "SFU", "COMPONENT", "METHOD", "SINCE", "CRASHES", "REASON"}, table)
}

func (c *cli) quarantineShowCommand() *cobra.Command {
	return c.heldCommand(&cobra.Command{
		Use:   "show ID",
		Short: "print all that may be shown of a request in quarantine, with the stack of its last crash",
		Long: `Prints who sent a request in quarantine, and how its Component crashed, with the stack. Of its body it
prints the fields that are not declared sensitive; of a message of the site, whose type an SFU does not
know, only its length.`,
	}, func(_ context.Context, _ *engines, held []heldRow) error {
		for i := range held {
			if err := c.printHeldDetail(heldDetailOf(held[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *cli) printHeldDetail(d *heldDetail) error {
	if c.json {
		return c.out.Object(d)
	}
	if d.Error != "" {
		return c.out.Table(nil, [][]string{{"request", d.ID}, {"SFU", d.SFU}, {"cannot be read", d.Error}})
	}
	again := "must not be executed twice"
	switch {
	case d.Notice:
		again = "a notice"
	case d.Idempotent:
		again = "may be executed twice"
	}
	body := fmt.Sprintf("%d bytes, which are not shown: this SFU does not know their type", d.BodyBytes)
	if d.Body != "" {
		body = d.Body
	}
	rows := [][]string{{"request", d.ID}, {"SFU", d.SFU}, {"component", d.Component}, {"method", d.method() + ", " + again}, {"since", d.since()},
		{"crashes", strconv.Itoa(int(d.Crashes))}, {"user", strconv.FormatUint(d.Principal, 10)}, {"role", d.Role}, {"came through SFU", strconv.Itoa(int(d.From))},
		{"body", body}}
	if d.Trace != "" {
		rows = append(rows, []string{"trace", d.Trace})
	}
	if err := c.out.Table(nil, rows); err != nil {
		return err
	}
	return c.out.Text("\n" + strings.TrimSpace(d.Reason) + "\n")
}

func (c *cli) quarantineRetryCommand() *cobra.Command {
	return c.heldCommand(&cobra.Command{
		Use:   "retry ID",
		Short: "try a request in quarantine once more, now, at the SFU that holds it",
		Long: `Gives a request in quarantine to its Component once more, at the SFU that holds it and in the name of the
user who sent it, and waits for the answer. Mend the Component first; one that rests after crashes is
started at once.

If it is answered, whatever the answer, it leaves quarantine; nobody gets the answer, since its caller was
told long ago. If it crashes the Component again, three times, or once where its method is not idempotent,
or is not answered within ten seconds, it stays. What it did before it crashed may be done twice then,
unless its method is idempotent.`,
		Example: "  rrts quarantine retry 3f2a9c0d5e6b718493a2b1c0d4e5f607",
	}, func(ctx context.Context, ask *engines, held []heldRow) error {
		if len(held) > 1 {
			return fmt.Errorf("%s is held by %s, and is tried at one of them: name it with --at", held[0].ID, namesOf(held))
		}
		h := &held[0]
		answer, err := ask.at(h.number).RetryHeld(ctx, &enginepb.RetryHeldRequest{Id: h.ID, By: whoami()})
		if err != nil {
			return fmt.Errorf("%s: %w", h.SFU, err)
		}
		how := &message.Error{Code: message.Code(answer.Code), Detail: answer.Detail}
		if !answer.Answered {
			return fmt.Errorf("it stays in quarantine at %s: %w; mend the Component, or rrts quarantine discard %s", h.SFU, how, h.ID)
		}
		c.out.Say("answered at %s with %v; it is in quarantine no longer", h.SFU, how)
		return nil
	})
}

func (c *cli) quarantineDiscardCommand() *cobra.Command {
	return c.heldCommand(&cobra.Command{
		Use:   "discard ID",
		Short: "give a request in quarantine up for good",
		Long: `Removes a request from quarantine for good, at every SFU that holds it. The same request, sent again by its
caller, is then served like any other, and may crash its Component again.`,
		Example: "  rrts quarantine discard 3f2a9c0d5e6b718493a2b1c0d4e5f607",
	}, func(ctx context.Context, ask *engines, held []heldRow) error {
		var errs []error
		for i := range held {
			h := &held[i]
			if _, err := ask.at(h.number).DiscardHeld(ctx, &enginepb.DiscardHeldRequest{Id: h.ID, By: whoami()}); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", h.SFU, err))
				continue
			}
			c.out.Say("%s is discarded at %s", h.ID, h.SFU)
		}
		return errors.Join(errs...)
	})
}

// heldID is the id of a request in quarantine.
var heldID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// decidePatience is how long an SFU may take to try a request, or to discard it: it gives a
// try ten seconds.
const decidePatience = 20 * time.Second

// heldCommand makes cmd a command on one request in quarantine: do gets it at each SFU
// that holds it, one at least.
func (c *cli) heldCommand(cmd *cobra.Command, do func(context.Context, *engines, []heldRow) error) *cobra.Command {
	var via, at string
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || !heldID.MatchString(args[0]) {
			return usageError{fmt.Errorf("name one request by its 32 hex digits: %s ID; rrts quarantine list prints them", cmd.CommandPath())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.everyEngine(cmd.Context(), via, at, func(ask *engines) error {
			held, err := ask.find(cmd.Context(), args[0])
			if len(held) == 0 {
				return err
			}
			if err != nil {
				c.out.Say("rrts: not all SFUs answer, those may hold it too: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), decidePatience)
			defer cancel()
			return do(ctx, ask, held)
		})
	}
	viaFlag(cmd, &via)
	cmd.Flags().StringVar(&at, "at", "", "only at this SFU (default: wherever it is held)")
	return cmd
}

// engines asks the engines of SFUs what they hold.
type engines struct {
	op   *client.Client
	sfus []config.Member
}

// everyEngine gives do the engines of all SFUs, or of the one named at.
func (c *cli) everyEngine(ctx context.Context, via, at string, do func(*engines) error) error {
	op, cluster, err := c.operator(ctx, via)
	if err != nil {
		return err
	}
	defer op.Close()
	ask := &engines{op: op, sfus: c.newest(ctx, op, cluster).SFUs}
	if at != "" {
		var names []string
		for _, m := range ask.sfus {
			names = append(names, m.Name)
		}
		i := slices.Index(names, at)
		if i < 0 {
			return usageError{fmt.Errorf("the cluster has no SFU %q; it has %q", at, names)}
		}
		ask.sfus = ask.sfus[i : i+1]
	}
	return do(ask)
}

func (e *engines) at(sfu uint16) enginepb.EngineClient {
	return enginepb.EngineClient{Caller: e.op.To(sfu)}
}

// list returns what is held, in the order of the SFUs and then of time. The error names
// the SFUs that did not answer.
func (e *engines) list(ctx context.Context) ([]heldRow, error) {
	return e.ask(ctx, func(ctx context.Context, m *config.Member) (rows []heldRow, err error) {
		q := &enginepb.HeldQuery{}
		for more := true; more; {
			a, err := e.at(m.Number).Held(ctx, q)
			if err != nil {
				return rows, err
			}
			for i := range a.Held {
				rows = append(rows, heldRowOf(m, &a.Held[i]))
				q.After = a.Held[i].Id
			}
			more = a.More && len(a.Held) > 0
		}
		slices.SortStableFunc(rows, func(a, b heldRow) int {
			if a.Since == nil || b.Since == nil {
				return 0
			}
			return a.Since.Compare(*b.Since)
		})
		return rows, nil
	})
}

// find returns one request at each SFU that holds it. The error names the SFUs that did
// not answer, or says that all did and none holds it.
func (e *engines) find(ctx context.Context, id string) ([]heldRow, error) {
	rows, err := e.ask(ctx, func(ctx context.Context, m *config.Member) ([]heldRow, error) {
		a, err := e.at(m.Number).Held(ctx, &enginepb.HeldQuery{Id: id})
		if errors.Is(err, &message.Error{Code: message.NotFound}) {
			return nil, nil
		}
		if err != nil || len(a.Held) == 0 {
			return nil, err
		}
		return []heldRow{heldRowOf(m, &a.Held[0])}, nil
	})
	switch {
	case len(rows) > 0:
		return rows, err
	case err != nil:
		return nil, fmt.Errorf("no SFU that answers holds %s: try again when all do\n%w", id, err)
	}
	return nil, fmt.Errorf("no SFU holds a request %s; rrts quarantine list shows those that are held", id)
}

// ask asks the SFUs at once.
func (e *engines) ask(ctx context.Context, one func(context.Context, *config.Member) ([]heldRow, error)) (all []heldRow, err error) {
	rows, errs := make([][]heldRow, len(e.sfus)), make([]error, len(e.sfus))
	var asking sync.WaitGroup
	for i := range e.sfus {
		m := &e.sfus[i]
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			rows[i], errs[i] = one(ctx, m)
			switch {
			case errs[i] == nil:
			case errors.Is(errs[i], &message.Error{Code: message.NoMethod}):
				errs[i] = fmt.Errorf("%s runs a release that does not show its quarantine; rrts upgrade", m.Name)
			default:
				errs[i] = fmt.Errorf("%s does not answer, rrts status says how it is: %w", m.Name, errs[i])
			}
		})
	}
	asking.Wait()
	return slices.Concat(rows...), errors.Join(errs...)
}

func namesOf(held []heldRow) string {
	var names []string
	for _, h := range held {
		names = append(names, h.SFU)
	}
	return strings.Join(names, " and ")
}
